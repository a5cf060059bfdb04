from __future__ import annotations

import dataclasses

import pytest

from cslm.batches.documents import JsonLines
from cslm.batches.sources import SourceConfig, open_sources
from cslm.errors import UserError
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.tasks import TASKS
from tests.worlds.small_village import small_tokenizer
from tests.worlds.small_world import NUM_GROUPS, write_lines


@pytest.fixture(scope="module")
def sources(world, form):
    return open_sources(world, form)


def changed(world, name, **changes):
    return {name: dataclasses.replace(world[name], **changes)}


def test_every_task_has_a_source(sources, world):
    assert set(sources) == set(world) == set(TASKS)
    numbers = {name: source.num_documents for name, source in sources.items()}
    assert numbers["asr"] == numbers["interleaved"] == numbers["text"] == 2 * NUM_GROUPS
    assert numbers["tts"] == NUM_GROUPS
    assert numbers["code_switched"] == NUM_GROUPS - 1
    assert numbers["dialogue"] == numbers["text_dialogue"] == 80
    assert sources["translation"].languages == ["en", "zh"] and sources["instruction"].languages == ["en"]


@pytest.mark.parametrize("name", TASKS)
def test_sequences_depend_on_index_and_seed_alone(sources, name):
    source = sources[name]
    for index in (0, source.num_documents - 1):
        first, again = source.sequence(index, 5), source.sequence(index, 5)
        assert first.ids.tolist() == again.ids.tolist()
        assert first.task == source.task == name
        assert {span.language for span in first.spans if span.trained} <= set(source.languages)
        assert first.trained.any()


def test_mean_lengths_are_those_of_the_documents(sources):
    source = sources["asr"]
    lengths = [len(source.sequence(index, 0)) for index in range(source.num_documents)]
    assert source.mean_length == pytest.approx(sum(lengths) / len(lengths), rel=0.03)


def test_wordings_are_drawn(sources):
    assert len({tuple(sources["asr"].sequence(0, seed).ids.tolist()) for seed in range(10)}) == 10


def test_a_dialogue_is_cut_as_its_text_is(sources, form):
    sequence = sources["dialogue"].sequence(2, 0)  # asked in English, answered in Chinese
    roles = [(span.modality, span.language) for span in sequence.spans if span.role == "assistant" and span.trained]
    assert [language for modality, language in roles if modality == "speech"] == ["zh", "zh"]
    assert (
        "[question]: In this village Anna works as a baker, and everybody here likes to hear about it.; [answer]: 在"
        in (form.render(sequence))
    )


def test_code_switched_documents_go_on_through_the_groups(sources):
    source = sources["code_switched"]
    languages, lengths = set(), set()
    for seed in range(10):
        speech = [span for span in source.sequence(4, seed).spans if span.modality == "speech"]
        languages.add(tuple(span.language for span in speech))
        lengths.add(tuple(span.stop - span.start for span in speech))
    assert len(languages) > 3
    assert lengths == {(35, 36, 37)}  # groups 5, 6 and 7: group 0 has no name


def test_filters(world, form):
    english = open_sources(changed(world, "asr", languages=["en"]), form)["asr"]
    assert english.num_documents == NUM_GROUPS and english.languages == ["en"]
    voice = open_sources(changed(world, "dialogue", speakers=["zh-voice-0"]), form)["dialogue"]
    assert voice.num_documents == 20 and "zh" in voice.languages
    within = open_sources(changed(world, "dialogue", languages=["zh"]), form)["dialogue"]
    assert within.num_documents == 20 and within.languages == ["zh"]


def test_a_source_without_documents_is_named(world, form):
    with pytest.raises(
        UserError, match=r"source tts has no documents left .*languages \['en'\], speakers \['zh-voice-0'\]"
    ):
        open_sources(changed(world, "tts", languages=["en"], speakers=["zh-voice-0"]), form)
    with pytest.raises(UserError, match="source code_switched has no groups in several languages"):
        open_sources(changed(world, "code_switched", languages=["en"]), form)
    with pytest.raises(UserError, match="source translation has no documents"):
        open_sources(changed(world, "translation", languages=["en"]), form)


def test_a_speaker_that_the_store_does_not_have_is_named(world, form):
    with pytest.raises(UserError, match="source tts wants speaker nobody, .* it has en-voice-0, en-voice-1"):
        open_sources(changed(world, "tts", speakers=["en-voice-0", "nobody"]), form)


def test_configurations_that_do_not_fit_are_refused(world, form, tmp_path):
    store = world["asr"].store
    for config, message in [
        (SourceConfig("sing", 1), "'sing'.*choose one of asr"),
        (SourceConfig("asr", 1), "needs a store"),
        (SourceConfig("dialogue", 1, store), "needs documents"),
        (SourceConfig("text", 1, documents=str(tmp_path / "none.jsonl")), "there is no file"),
        (SourceConfig("dialogue", 1, store, world["dialogue"].documents, order="mixed"), "order 'mixed'"),
        (SourceConfig("code_switched", 1, store, num_sentences=1), "num_sentences 1"),
    ]:
        with pytest.raises(UserError, match=message):
            open_sources({"a": config}, form)


def test_units_need_a_vocabulary_that_holds_them(world, tmp_path):
    text_only = SequenceFormat(small_tokenizer(tmp_path / "tokenizer"))
    with pytest.raises(UserError, match="has units, but the model has none"):
        open_sources(changed(world, "asr"), text_only)
    assert open_sources(changed(world, "text_dialogue"), text_only)["text_dialogue"].num_documents == 80


def test_a_source_of_weight_zero_is_not_opened(form):
    assert open_sources({"a": SourceConfig("asr", 0, "nowhere")}, form) == {}


def test_documents_are_checked_line_by_line(tmp_path, form, world):
    good = '{"language": "en", "text": "One."}\n'
    for bad, message in [
        ("not json\n", "line 3: not JSON"),
        ("[1]\n", "line 3: a list"),
        ('{"language": "en"}\n', "line 3: the field text is missing"),
        ('{"language": "en", "text": 3}\n', "line 3: the field text is 3"),
    ]:
        path = tmp_path / "texts.jsonl"
        path.write_text(good + "\n" + bad)
        with pytest.raises(UserError, match=message):
            open_sources({"a": SourceConfig("text", 1, documents=str(path))}, form)
    dialogue = {"question": "en-1", "answer": "zh-999", "question_language": "en", "answer_language": "zh"}
    path = write_lines(tmp_path / "d.jsonl", [{**dialogue, "question_text": "Who?", "answer_text": "安娜。"}])
    with pytest.raises(UserError, match="zh-999"):
        open_sources({"a": SourceConfig("dialogue", 1, world["asr"].store, path)}, form)


def test_documents_are_read_at_their_places(tmp_path):
    texts = ["short", "长" * 5000, "x" * 20000, "last"]
    path = tmp_path / "texts.jsonl"
    write_lines(path, [{"text": text} for text in texts])
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    lines = JsonLines(path, ("text",))
    offsets = [offset for offset, _ in lines.scan()]
    assert [lines.read(offset)["text"] for offset in reversed(offsets)] == texts[::-1]


@pytest.mark.parametrize(
    "bad",
    [{"unit_noise": share} for share in (-0.1, 1.0, float("nan"))]
    + [{"loss_weight": weight} for weight in (0.0, -1.0, float("inf"))],
)
def test_noise_and_weight_out_of_range_are_refused_by_name(world, form, bad):
    (key,) = bad
    with pytest.raises(UserError, match=f"the source tts has {key}"):
        open_sources({"tts": dataclasses.replace(world["tts"], **bad)}, form)


@pytest.mark.parametrize("name", ["asr", "tts", "interleaved", "translation", "instruction", "text", "dialogue"])
def test_texts_tokenized_before_change_no_document(world, form, name):
    (plain,), (knowing,) = (open_sources({name: world[name]}, form).values() for _ in range(2))
    knowing.know_texts()
    for index in range(plain.num_documents):
        one, other = plain.sequence(index, index), knowing.sequence(index, index)
        assert one.ids.tolist() == other.ids.tolist() and one.spans == other.spans
    with_whole_texts = ("asr", "tts", "translation", "instruction", "text")
    assert (knowing._form.encoder is not form.encoder) == (name in with_whole_texts)
