"""LAD's connector: a clip's vectors are its own; the Q-Former is a Whisper's decoder; draws hang on the step."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers import WhisperForConditionalGeneration

from cslm.errors import UserError
from cslm.model.speech_prompt.connector import Between
from cslm.model.speech_prompt.connector_config import ConnectorConfig
from cslm.model.speech_prompt.connectors import build_connector
from cslm.model.speech_prompt.query_bank import QueryBank
from cslm.model.speech_prompt.query_bank_config import GateConfig, QFormerShapeConfig, QueryBankConfig
from tests.worlds.asr_models import write_whisper

DIMS, WIDTH, QUERIES = 16, 32, 7
BETWEEN = Between(DIMS, WIDTH, 0.05, ("de", "en", "zh"), 3)
SHAPE = QFormerShapeConfig(width=16, layers=2, heads=2, inner=32, positions=24)
BANKS = {
    "static": None,
    "convolutional": GateConfig("convolutional", width=12),
    "attention": GateConfig("attention", selection="soft", temperature=0.5, width=12, heads=2),
    "given": GateConfig("given"),
    "random": GateConfig("random"),
}


def bank(gate: GateConfig | None = None, between: Between = BETWEEN, **changes) -> QueryBank:
    settings = QueryBankConfig(**{"num_queries": QUERIES, "shape": SHAPE, "gate": gate, **changes})
    return build_connector(ConnectorConfig(query_bank=settings), between)


def clips(lengths: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames with rubbish behind the end of each."""
    generator = torch.Generator().manual_seed(seed)
    frames = 3 * torch.randn(len(lengths), max(lengths), DIMS, generator=generator)
    return frames, torch.tensor(lengths)


LENGTHS = [1, 40, 7, 23, 2, 16, 9, 31]


@pytest.mark.parametrize("attention", ["causal", "full"])
@pytest.mark.parametrize("gate", BANKS.values(), ids=BANKS)
@pytest.mark.parametrize("training", [True, False])
def test_a_clip_alone_is_what_it_is_among_others(gate, training, attention):
    module = bank(gate, self_attention=attention).train(training)
    module.begin(3, 10)
    frames, lengths = clips(LENGTHS)
    unknown = 2 if gate == BANKS["given"] else -1
    languages = torch.tensor([0, 1, 2, 0, 1, 2, unknown, 1])
    together = module(frames, lengths, languages)
    assert together.vectors.shape == (8, QUERIES, WIDTH) and together.lengths.tolist() == [QUERIES] * 8
    for index, length in enumerate(LENGTHS):
        alone = module(frames[index : index + 1, :length], lengths[index : index + 1], languages[index : index + 1])
        atol = 1e-5 * float(together.vectors.detach().abs().max())
        torch.testing.assert_close(together.vectors[index], alone.vectors[0], atol=atol, rtol=0)
        if together.gate is not None:
            torch.testing.assert_close(together.gate[index], alone.gate[0], atol=1e-5, rtol=0)


def test_the_qformer_is_the_decoder_of_the_whisper(tmp_path):
    """Queries in the place of embedded words give what transformers' own decoder gives, in a batch of one length."""
    folder = write_whisper(tmp_path / "whisper")
    module = bank(shape=None, whisper=str(folder)).eval()
    decoder = WhisperForConditionalGeneration.from_pretrained(folder).model.decoder.eval()
    frames, lengths = clips([12, 12])
    with torch.no_grad():
        expected = decoder(
            inputs_embeds=module.queries.expand(2, -1, -1), encoder_hidden_states=frames, use_cache=False
        ).last_hidden_state
        torch.testing.assert_close(module(frames, lengths).vectors, module.projection(expected))
    assert module.settings.whisper is None and module.settings.shape.width == 16
    again = build_connector(ConnectorConfig(query_bank=module.settings), BETWEEN).eval()
    again.load_state_dict(module.state_dict())
    assert torch.equal(again(frames, lengths).vectors, module(frames, lengths).vectors)


def test_of_a_decoder_the_first_layers_can_be_taken(tmp_path):
    folder = write_whisper(tmp_path / "whisper", decoder_layers=2)
    whole, first = (bank(shape=None, whisper=str(folder), layers=layers) for layers in (None, 1))
    assert len(whole.qformer.layers) == 2 and len(first.qformer.layers) == first.settings.shape.layers == 1
    expected = whole.qformer.layers[0].state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in first.qformer.layers[0].state_dict().items())
    again = build_connector(ConnectorConfig(query_bank=first.settings), BETWEEN)
    again.load_state_dict(first.state_dict())
    with pytest.raises(UserError, match="connector.query_bank.layers is 3, and the decoder of .* has 2"):
        bank(shape=None, whisper=str(folder), layers=3)


def test_full_attention_sees_what_is_behind():
    frames, lengths = clips([9])
    for attention, sees in (("causal", False), ("full", True)):
        module = bank(self_attention=attention).eval()
        before = module(frames, lengths).vectors[0, 0].detach()
        with torch.no_grad():
            module.queries[0, -1] += 1
        assert bool((module(frames, lengths).vectors[0, 0] != before).any()) == sees


def test_hard_takes_one_languages_queries_and_soft_a_mixture():
    frames, lengths = clips([9, 20])
    for selection in ("hard", "soft"):
        module = bank(GateConfig(selection=selection, width=12)).eval()
        weights, logits = module.choice(frames, lengths, None)
        assert torch.allclose(weights.sum(dim=1), torch.ones(2))
        assert (weights.max(dim=1).values == 1).all() == (selection == "hard")
        assert torch.equal(weights.argmax(dim=1), logits.argmax(dim=1))


@pytest.mark.parametrize("network", ["convolutional", "attention"])
@pytest.mark.parametrize("selection", ["hard", "soft"])
def test_the_gate_learns_from_what_the_queries_do(network, selection):
    module = bank(GateConfig(network, selection=selection, width=12))
    frames, lengths = clips(LENGTHS)
    module(frames, lengths, torch.zeros(8, dtype=torch.long)).vectors.square().sum().backward()
    for name, parameter in module.choice.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_teacher_forcing_falls_from_always_to_never_in_the_first_half():
    module = bank(GateConfig(width=12))
    seen = []
    for step in range(0, 100, 10):
        module.begin(step, 100)
        seen.append(module.choice.forcing)
    assert seen[0] == 1 and seen == sorted(seen, reverse=True)
    assert seen[5:] == [0] * 5 and abs(module.choice.forcing) == 0
    module.begin(25, 100)
    assert abs(module.choice.forcing - 0.5) < 1e-9


def test_what_is_forced_hangs_on_seed_step_and_clip_alone():
    frames, lengths = clips([5, 6, 7, 8, 9, 10, 11, 12] * 8)
    languages = torch.arange(64) % 3

    def forced(step: int, between: Between = BETWEEN) -> list[bool]:
        module = bank(GateConfig(width=12), between)
        module.begin(step, 100)
        return module.choice._is_forced(lengths, languages).tolist()

    assert forced(0) == [True] * 64 and forced(60) == [False] * 64
    assert forced(25) == forced(25) != forced(26)
    assert forced(25) != forced(25, BETWEEN._replace(seed=4))
    assert 8 < sum(forced(25)) < 56
    module = bank(GateConfig(width=12)).eval()
    module.begin(0, 100)
    assert not (module.choice(frames, lengths, languages)[0].argmax(1) == languages).all()  # never in a reply


def test_forced_clips_take_the_true_languages_queries():
    module = bank(GateConfig(width=12))
    module.begin(0, 100)
    frames, lengths = clips([5, 9])
    weights, _ = module.choice(frames, lengths, torch.tensor([2, 0]))
    assert weights.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_static_bank_of_as_many_queries_as_all_languages():
    module = bank(blocks=3)
    assert module.num_vectors(100) == 21 and module.queries.shape == (1, 21, 16)
    assert bank(GateConfig(width=12)).queries.shape == (3, 7, 16)
    frames, lengths = clips([9])
    assert module(frames, lengths).vectors.shape == (1, 21, WIDTH)


def test_vectors_begin_at_the_size_of_embeddings():
    frames, lengths = clips([40] * 4)
    size = float(bank(between=BETWEEN._replace(scale=0.05))(frames, lengths).vectors.square().mean().sqrt())
    assert 0.03 < size < 0.08


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_queries": 25}, "num_queries is 25, and the decoder has 24 positions"),
        ({"gate": GateConfig(), "between": BETWEEN._replace(languages=("en",))}, r"there are 1 \(en\)"),
        ({"whisper": "openai/whisper-small"}, "both are given"),
        ({"shape": None}, "neither is given"),
        ({"layers": 1}, "layers is of a Whisper's decoder: give connector.query_bank.shape.layers"),
        ({"self_attention": "none"}, "choose one of causal, full"),
    ],
)
def test_what_cannot_be_is_refused(changes, told):
    with pytest.raises(UserError, match=told):
        bank(**changes)


def test_without_the_language_the_control_refuses():
    frames, lengths = clips([9])
    with pytest.raises(UserError, match="wants to be told the language"):
        bank(GateConfig("given")).eval()(frames, lengths)
    with pytest.raises(UserError, match="wants to be told the language of each clip, one of"):
        bank(GateConfig("given"))(frames, lengths, torch.tensor([-1]))
    with pytest.raises(UserError, match="choose one of convolutional"):
        dataclasses.replace(GateConfig(), network="lstm")
