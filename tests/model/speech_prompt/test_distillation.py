"""LAD's losses: each against sums written out by hand; packed as alone; what a clip does not bring is no part."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.nn.functional import kl_div

from cslm.batches.packed_row import count_all, packed_row
from cslm.errors import UserError
from cslm.model.speech_prompt.connector import Between
from cslm.model.speech_prompt.connector_config import ConnectorConfig
from cslm.model.speech_prompt.connectors import build_connector
from cslm.model.speech_prompt.distillation import next_logits
from cslm.model.speech_prompt.prompt_losses import open_losses
from cslm.model.speech_prompt.prompt_losses_config import (
    InputDistillationConfig,
    LanguageIdentificationConfig,
    OutputDistillationConfig,
    OutputKlConfig,
    PromptLossesConfig,
)
from cslm.model.speech_prompt.prompt_objective import PromptObjective
from cslm.model.speech_prompt.query_bank_config import GateConfig, QFormerShapeConfig, QueryBankConfig
from cslm.model.speech_prompt.speech_prompt import SpeechPrompt, embedding_scale, freeze
from cslm.sequences.sequence import PlacedClip, Sequence, Span
from tests.worlds.tiny_models import tiny_model

DIMS, WIDTH, QUERIES, PLACE = 6, 32, 5, 999
LANGUAGES = ("de", "en")
SHAPE = QFormerShapeConfig(width=8, layers=1, heads=2, inner=16, positions=24)
LOSSES = {
    "language_identification": LanguageIdentificationConfig(2.0),
    "input_distillation": InputDistillationConfig(3.0),
    "output_distillation": OutputDistillationConfig(),
    "output_kl": OutputKlConfig(temperature=2.0),
}


@dataclass(frozen=True)
class Taught:
    """Frames with a transcript and, perhaps, a teacher's state."""

    num_frames: int
    number: int
    num_ids: int
    has_state: bool = True
    behind: int = 2

    def read(self) -> np.ndarray:
        return np.random.default_rng(self.number).normal(size=(self.num_frames, DIMS)).astype(np.float32)

    def more(self) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(self.number + 100)
        state = generator.normal(size=WIDTH).astype(np.float32)
        return {
            "transcript": generator.integers(3, 60, self.num_ids),
            "teacher_state": state if self.has_state else state[:0],
            "state_place": np.array([self.behind]),
        }

    def counts(self) -> dict[str, int]:
        return {
            "labelled_clips": 1,
            "aligned_tokens": self.num_ids if self.num_ids <= QUERIES else 0,
            "taught_clips": int(self.has_state),
        }


def heard(before: int, clip: Taught | None, after: int, language: str = "en") -> Sequence:
    """Ids, the places of a clip, and the ids of a template; nothing is learnt."""
    places = 0 if clip is None else QUERIES
    ids = np.concatenate([np.arange(before) + 3, np.full(places, PLACE), np.arange(after) + 9]).astype(np.int32)
    spans = (Span(0, len(ids), "template", language, "user", False),)
    clips = () if clip is None else (PlacedClip(before, before + places, language, clip),)
    return Sequence(ids, np.zeros(len(ids), dtype=np.bool_), spans, "test", clips=clips)


CLIPS = [Taught(9, 1, 3), Taught(4, 2, 5), Taught(12, 3, 6), Taught(7, 4, 2, has_state=False)]
TOLD = ["en", "de", "de", "en"]


def documents() -> list[Sequence]:
    found = [
        heard(2 + index, clip, 3, language) for index, (clip, language) in enumerate(zip(CLIPS, TOLD, strict=True))
    ]
    return [*found[:2], heard(4, None, 3), *found[2:]]


def objective(
    names: tuple[str, ...] = tuple(LOSSES), family: str = "qwen3", gate: GateConfig | None = None
) -> PromptObjective:
    llm = freeze(tiny_model(family, attention="document"))
    bank = QueryBankConfig(QUERIES, shape=SHAPE, gate=gate or GateConfig(width=8, teacher_forcing=0))
    between = Between(DIMS, WIDTH, embedding_scale(llm), LANGUAGES)
    connector = build_connector(ConnectorConfig(query_bank=bank), between)
    losses = open_losses(PromptLossesConfig(**{name: LOSSES[name] for name in names}))
    return PromptObjective(SpeechPrompt(None, connector, llm, LANGUAGES), losses, 1, DIMS)


def by_hand(module: PromptObjective) -> dict[str, float]:
    """The sums, a clip at a time, by plain calls of the parts."""
    prompt, llm = module.prompt, module.prompt.llm
    sums = dict.fromkeys(LOSSES, 0.0)
    embed = llm.get_input_embeddings()
    for index, (clip, language) in enumerate(zip(CLIPS, TOLD, strict=True)):
        frames = torch.from_numpy(clip.read())[None]
        connected = prompt.connector(frames, torch.tensor([clip.num_frames]), torch.tensor([LANGUAGES.index(language)]))
        sums["language_identification"] -= float(connected.gate.log_softmax(-1)[0, LANGUAGES.index(language)])
        more, vectors = clip.more(), connected.vectors[0]
        if clip.num_ids <= QUERIES:
            for place, token in enumerate(more["transcript"].tolist()):
                difference = vectors[QUERIES - clip.num_ids + place] - embed(torch.tensor(token))
                sums["input_distillation"] += float(difference.square().sum().sqrt())
        before, after = torch.arange(2 + index) + 3, torch.arange(3) + 9
        read = torch.cat([embed(before), vectors, embed(after)])[None]
        last = llm.get_decoder()(inputs_embeds=read).last_hidden_state[0, 2 + index + QUERIES - 1 + clip.behind]
        if clip.has_state:
            wanted = torch.from_numpy(more["teacher_state"])
            sums["output_distillation"] += float((last - wanted).square().sum().sqrt())
            student, teacher = ((llm.get_output_embeddings()(it) / 2).log_softmax(-1) for it in (last, wanted))
            sums["output_kl"] += 4 * float(kl_div(student, teacher, log_target=True, reduction="sum"))
    return sums


def test_each_loss_is_its_sum_by_hand_over_its_own_count():
    module = objective()
    row = packed_row(documents(), {})
    with torch.no_grad():
        terms = module(row).terms
        expected = by_hand(module)
    for name, total in expected.items():
        assert abs(float(terms[name].sum) - total) < 1e-4 * abs(total), name
    counts = row.counts()
    assert [counts[terms[name].per] for name in LOSSES] == [4, 3 + 5 + 2, 3, 3]
    assert [terms[name].weight for name in LOSSES] == [2.0, 3.0, 1.0, 1.0]
    assert counts == count_all(documents())


@pytest.mark.parametrize("name", LOSSES)
def test_packed_clips_learn_as_alone(name):
    module = objective([name])

    def gradients(rows: list) -> dict[str, torch.Tensor]:
        module.zero_grad()
        for row in rows:
            module(row).weighted_sum.backward()
        return {
            key: it.grad.clone() for key, it in module.named_parameters() if it.requires_grad and it.grad is not None
        }

    together = gradients([packed_row(documents(), {})])
    alone = gradients([packed_row([document], {}) for document in documents()])
    assert together.keys() == alone.keys()
    learnt = [key for key, value in alone.items() if value.any()]
    assert learnt
    most = max(float(alone[key].abs().max()) for key in learnt)
    for key, value in alone.items():
        torch.testing.assert_close(together[key], value, atol=1e-5 * most, rtol=0)


def test_a_row_without_clips_has_all_terms_and_gives_every_parameter_a_gradient_of_nothing():
    module = objective()
    found = module(packed_row([heard(4, None, 3)], {}))
    assert list(found.terms) == list(LOSSES) and float(found.weighted_sum.detach()) == 0
    found.weighted_sum.backward()
    for name, parameter in module.named_parameters():
        assert not parameter.requires_grad or (parameter.grad is not None and not parameter.grad.any()), name


def test_a_state_that_is_the_teachers_costs_nothing():
    module = objective(["output_distillation", "output_kl"])
    llm, clip = module.prompt.llm, CLIPS[0]
    with torch.no_grad():
        vectors = module.prompt.connector(
            torch.from_numpy(clip.read())[None], torch.tensor([9]), torch.tensor([1])
        ).vectors
        embed = llm.get_input_embeddings()
        read = torch.cat([embed(torch.arange(2) + 3), vectors[0], embed(torch.arange(3) + 9)])[None]
        state = llm.get_decoder()(inputs_embeds=read).last_hidden_state[0, -2].numpy()

        class Own(Taught):
            def more(self):
                return {**super().more(), "teacher_state": state}

        document = heard(2, Own(9, 1, 3, behind=2), 3)
        terms = module(packed_row([document], {})).terms
    assert float(terms["output_distillation"].sum) < 1e-4 and abs(float(terms["output_kl"].sum)) < 1e-6


@pytest.mark.parametrize("family", ["qwen3", "gemma3_text", "llama"])
def test_next_logits_are_the_models_own(family):
    llm = freeze(tiny_model(family))
    llm.config.final_logit_softcapping = 3.0 if family == "gemma3_text" else None
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        states = llm.get_decoder()(input_ids=ids).last_hidden_state
        torch.testing.assert_close(next_logits(llm, states), llm(input_ids=ids).logits.float())


def test_losses_without_what_they_need_are_refused():
    with pytest.raises(UserError, match="no gate that learns"):
        objective(["language_identification"], gate=GateConfig("random"))(packed_row(documents(), {}))


def test_a_row_of_clips_that_bring_nothing_teaches_nothing_here():
    """Another task of the same run may have filled it."""

    @dataclass(frozen=True)
    class Bare:
        def read(self) -> np.ndarray:
            return np.ones((20, DIMS), dtype=np.float32)

    module = objective()
    bare = replace(heard(2, CLIPS[0], 3), clips=(PlacedClip(2, 7, "en", Bare()),))
    assert float(module(packed_row([bare], {})).weighted_sum.detach()) == 0
    mixed, alone = (module(packed_row(given, {})).terms for given in ([bare, *documents()], documents()))
    for name, term in alone.items():
        torch.testing.assert_close(mixed[name].sum, term.sum)
