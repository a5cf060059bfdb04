"""Dialogues through a core language whose chains become shorter: what a slot holds, and what n counts."""

from __future__ import annotations

import dataclasses
import json

import pytest

from cslm.batches.read_ahead import read_ahead
from cslm.batches.schedules import reckon, reckon_epochs, told_of_compressions
from cslm.batches.sources import SourceConfig, open_sources
from cslm.batches.stream import BatchSizes, BatchStream, mixture_of
from cslm.batches.weights import WeightSchedule
from cslm.errors import UserError
from cslm.sequences.chain_of_modality import parse_reply
from cslm.sequences.chains import CHAINS
from cslm.sequences.compression import CompressionConfig
from tests.worlds.equal_batches import equal
from tests.worlds.four_part_chain import four_part_format
from tests.worlds.small_world import write_lines

SIZES = BatchSizes(tokens_per_step=900, tokens_per_micro_batch=500, max_length=500)
SHARES = CompressionConfig(every=0.2, all_from=3, keep_groups=1)
CORE = {"core_language": "en_US", "core_question": "Who is she? I ask.", "core_answer": "Anna is a baker, I think."}


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return four_part_format(tmp_path_factory.mktemp("form") / "tokenizer")


@pytest.fixture
def chains(world, tmp_path) -> SourceConfig:
    """The Chinese dialogues of the small world, through English; no answer is spoken."""
    with open(world["dialogue"].documents, encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    silent = [{**it, **CORE} for it in documents if it["question_language"] == it["answer_language"] == "zh"]
    for document in silent:
        del document["answer"]
    path = write_lines(tmp_path / "chains.jsonl", silent)
    return dataclasses.replace(world["dialogue"], documents=path, order="xs_cot")


def texts_of(form, document, order="xs_cot") -> dict[str, str]:
    return parse_reply(form, document.ids[int(document.trained.argmax()) :], order).texts


@pytest.mark.parametrize("order", ["xs_cot", "xs_cot_labels", "transcript_then_answer", "direct"])
def test_a_written_answer_needs_no_recording(chains, four, order):
    source = open_sources({"a": dataclasses.replace(chains, order=order)}, four)["a"]
    document = source.sequence(0, 0)
    assert source.num_documents == 20
    assert source.languages == (["en", "zh"] if order.startswith("xs_cot") else ["zh"])
    assert any(span.modality == "speech" and span.role == "user" for span in document.spans)
    assert not any(span.modality == "speech" and span.trained for span in document.spans)
    reply = parse_reply(four, document.ids[int(document.trained.argmax()) :], order)
    assert reply.answer.startswith("在这个村子里") and set(reply.texts) == set(CHAINS[order].fields) - {"answer_text"}


def test_a_spoken_answer_still_does(chains, world, four):
    spoken = dataclasses.replace(chains, order="xs_cot_spoken")
    with pytest.raises(UserError, match="the field answer is missing"):
        open_sources({"a": spoken}, four)
    with pytest.raises(UserError, match="the field core_question is missing"):
        open_sources({"a": dataclasses.replace(world["dialogue"], order="xs_cot_spoken")}, four)


def test_the_core_language_is_read_as_a_tag_and_filters_nothing(chains, four):
    source = open_sources({"a": dataclasses.replace(chains, languages=["zh"])}, four)["a"]
    spans = [span for span in source.sequence(0, 0).spans if span.trained]
    assert {span.language for span in spans} == {"en", "zh"} == set(source.languages)
    stream = stream_of(chains, four, None)
    assert "dialogue/text/en" in stream.groups and stream.step({}).consumed


def test_keys_of_spoken_answers_are_refused_where_they_are_written(chains, four):
    for changes, told in [
        (
            {"speakers": ["zh-voice-0"]},
            r"has speakers .*, which is about spoken answers, and the order xs_cot",
        ),
        ({"unit_noise": 0.1}, "has unit_noise 0.1, which is about spoken answers"),
        ({"order": "direct", "compression": SHARES}, "the source a: compression .* the order direct has nothing there"),
    ]:
        with pytest.raises(UserError, match=told):
            open_sources({"a": dataclasses.replace(chains, **changes)}, four)


def test_words_of_a_language_that_cannot_be_told_are_refused_before_the_first_step(chains, four, tmp_path):
    with open(chains.documents, encoding="utf-8") as lines:
        documents = [json.loads(line) | {"core_language": "km"} for line in lines]
    path = write_lines(tmp_path / "khmer.jsonl", documents)
    phrases = dataclasses.replace(chains, documents=path, compression=CompressionConfig(words="phrases"))
    with pytest.raises(UserError, match="the source a: .*(not in km|needs the package budoux)"):
        open_sources({"a": phrases}, four)


def test_documents_of_text_are_shortened_alike(chains, four):
    config = dataclasses.replace(chains, task="text_dialogue", store=None, compression=SHARES)
    source = open_sources({"a": config}, four)["a"]
    document = source.sequence(0, 0, 1.0)
    assert texts_of(four, document)["core_question"] == "Who is... I ask."
    prompt = four.render(document.window(0, int(document.trained.argmax())))
    assert "在这个村子里安娜的职业是面包师，这里的人都喜欢听这件事。" in prompt  # what is asked stays whole


def stream_of(chains, form, compression, total_tokens=20_000.0, **more):
    configs = {"a": dataclasses.replace(chains, compression=compression)} | more
    sources, weights = open_sources(configs, form), {name: config.weight for name, config in configs.items()}
    reckon(sources, weights, total_tokens, SIZES.tokens_per_step)
    mixture = mixture_of(sources, weights, 3, total_tokens)
    reckon_epochs(sources, mixture)
    return BatchStream(sources, mixture, SIZES, 3)


def shortened_at(stream, form, slot) -> int:
    return sum(text.count("...") for text in texts_of(form, stream.document(slot)[1]).values())


def test_a_slot_is_as_far_as_the_share_of_the_training_before_it(chains, four):
    """Mean lengths are those over the training, so the last n comes at its end, however short chains have become."""
    stream = stream_of(chains, four, SHARES)
    tokens, slot, seen = 0, 0, []
    while tokens < 20_000:
        document = stream.document(slot)[1]
        n = min(3, int(stream.mixture.progress_at(slot) / 0.2 + 1e-9))
        assert shortened_at(stream, four, slot) == n
        seen.append(n)
        tokens, slot = tokens + len(document), slot + 1
    assert sorted(seen) == seen and set(seen) == {0, 1, 2, 3}
    assert stream.mixture.progress_at(slot) == pytest.approx(1.0, abs=0.03)


def test_a_slot_is_the_same_wherever_the_reading_begins_and_whoever_reads(chains, four):
    stream, other = (stream_of(chains, four, SHARES) for _ in range(2))
    position: dict = {}
    with read_ahead(stream, 1) as ahead:
        for _ in range(4):
            batch = stream.step(position)
            assert equal(batch.micro_batches[0], ahead.step(position).micro_batches[0])
            assert equal(other.step(position, 1, 2).micro_batches[0], stream.step(position, 1, 2).micro_batches[0])
            assert ahead.phase(position) == stream.phase(position)
            position = batch.position


def test_n_counts_the_passes_through_a_source(chains, four, world):
    config = CompressionConfig(unit="epochs", every=2, keep_groups=1)
    stream = stream_of(chains, four, config, 60_000.0, text=world["text"])
    tokens, slot, draws = 0, 0, 0
    while tokens < 60_000:
        name, document = stream.document(slot)
        draws += name == "a"
        tokens, slot = tokens + len(document), slot + 1
    assert draws / 20 > 5
    assert stream.sources["a"].compression.num_units == pytest.approx(draws / 20 / 2, rel=0.05)


def test_n_counts_steps(chains, four):
    """By the tokens of a step, so a little later where steps are not full to the last one."""
    stream = stream_of(chains, four, CompressionConfig(unit="steps", every=5, all_from=3, keep_groups=1), 900.0 * 20)
    position, tokens, seen = {}, 0, set()
    while tokens < 900 * 19:
        full_steps = tokens / 900
        if 0.4 < full_steps % 5 < 4.6:
            seen.add(shortened_at(stream, four, position.get("slot", 0)))
            assert shortened_at(stream, four, position.get("slot", 0)) == min(3, int(full_steps / 5))
        batch = stream.step(position)
        position, tokens = batch.position, tokens + sum(batch.consumed.values())
    assert seen == {0, 1, 2, 3}


def test_shares_of_tokens_are_kept_while_documents_become_shorter(chains, four, world):
    """Documents that are half as long are drawn twice as often."""
    stepwise = CompressionConfig(every=0.1, all_from=9, method="stepwise", removed_groups=4)
    stream = stream_of(chains, four, stepwise, 100_000.0, text=world["text"])
    tokens, slot, of_chains = 0, 0, [0, 0, 0]
    while tokens < 99_000:
        name, document = stream.document(slot)
        of_chains[int(tokens / 33_000)] += (name == "a") * len(document)
        tokens, slot = tokens + len(document), slot + 1
        assert stream.mixture.progress_at(slot) == pytest.approx(tokens / 100_000, abs=0.02)
    assert [count / 33_000 for count in of_chains] == pytest.approx([2 / 3] * 3, abs=0.05)


def test_a_schedule_that_the_training_does_not_reach_is_refused(chains, four, world):
    for config, told in [
        (CompressionConfig(every=0.2, all_from=6), "has compression.all_from 6, and n is 5 when this training ends"),
        (CompressionConfig(unit="steps", every=10, all_from=3), r"n is 2 when .*one more every 10 steps"),
        (CompressionConfig(unit="epochs", every=9, all_from=3), r"all_from 3, and n is 0 when .*every 9 epochs"),
    ]:
        with pytest.raises(UserError, match=told):
            stream_of(chains, four, config)
    text = dataclasses.replace(world["text"], weight=WeightSchedule([1.0, 2.0]))
    with pytest.raises(UserError, match="epochs, which have no even pace where weights change: choose share or steps"):
        stream_of(chains, four, CompressionConfig(unit="epochs", every=1), text=text)


def test_what_happens_to_chains_is_told(chains, four):
    (line,) = told_of_compressions(stream_of(chains, four, SHARES).sources)
    assert line == (
        "the source a: chains become shorter: n grows by one every 0.2 share to 5; all are from n 3 on, 60% of the "
        "training"
    )


def test_phases_are_those_of_the_sources_that_ask_for_them(chains, four):
    assert stream_of(chains, four, SHARES).phase({}) == ()
    stream = stream_of(chains, four, dataclasses.replace(SHARES, reset_optimizer=True))
    phases, position = [stream.phase({})], {}
    for _ in range(22):
        position = stream.step(position).position
        phases.append(stream.phase(position))
    assert phases == sorted(phases) and set(phases) == {(0,), (1,), (2,), (3,)}
