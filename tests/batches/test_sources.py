from __future__ import annotations

import dataclasses

import pytest
import yaml

from cslm.batches.documents import JsonLines
from cslm.batches.source_checks import _ALWAYS_READ, check_keys
from cslm.batches.sources import SourceConfig, open_sources
from cslm.corpora.text_documents import TEXT_FIELDS
from cslm.errors import UserError
from cslm.sequences.compression import CompressionConfig
from cslm.sequences.known_texts import KnownTexts
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.tasks import TASKS
from cslm.sequences.vocabulary import extend_tokenizer
from cslm.units.store import write_store
from tests.conftest import ROOT
from tests.worlds.real_templates import TEMPLATES
from tests.worlds.small_village import CODEBOOK_SIZE, byte_level_tokenizer, small_tokenizer
from tests.worlds.small_world import NUM_GROUPS, rows, write_lines

OF_UNITS_OR_TEXT = [name for name, task in TASKS.items() if "manifest" not in task.reads]
"""the other tasks read recordings (test_recording_sources.py)"""


@pytest.fixture(scope="module")
def sources(world, form):
    return open_sources(world, form)


def changed(world, name, **changes):
    return {name: dataclasses.replace(world[name], **changes)}


def test_every_task_has_a_source(sources, world):
    assert set(sources) == set(world) == set(OF_UNITS_OR_TEXT)
    numbers = {name: source.num_documents for name, source in sources.items()}
    assert numbers["asr"] == numbers["interleaved"] == numbers["text"] == 2 * NUM_GROUPS
    assert numbers["tts"] == NUM_GROUPS
    assert numbers["code_switched"] == NUM_GROUPS - 1
    assert numbers["dialogue"] == numbers["text_dialogue"] == 80
    assert sources["translation"].languages == ["en", "zh"] and sources["instruction"].languages == ["en"]


@pytest.mark.parametrize("name", OF_UNITS_OR_TEXT)
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
        (SourceConfig("interleaved", 1, store, spans="sung"), "spans 'sung'.*choose one of alternating"),
        (SourceConfig("interleaved", 1, store, span_words=0.5), "span_words 0.5"),
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
        ("[" * 100_000 + "\n", "line 3: not JSON"),
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
    offsets = [found.offset for found in lines.scan()]
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
    assert (knowing._form.encoder is not form.encoder) == (TASKS[name].texts is not None)


@pytest.fixture(scope="module")
def bytes_form():
    """As of real bases, whose tokenizers part a request from its text before the space between them."""
    tokenizer = byte_level_tokenizer(["<|im_start|>", "<|im_end|>"], None, "<|im_end|>", TEMPLATES["chatml"])
    extend_tokenizer(tokenizer, [CODEBOOK_SIZE])
    return SequenceFormat(tokenizer)


def texts_of_documents(source) -> set[str]:
    """The texts of its documents and replies, without what requests and layouts say."""
    store, documents = source.store, getattr(source, "_documents", None)
    if documents is None:
        return {str(store.column("text")[row]) for row in source._rows}
    whole = [found.document for found in documents.scan()]
    names = [name for name in TASKS[source.task].fields if not name.endswith("language")]
    texts = {document[name] for document in whole for name in names if name != "messages"}
    return texts | {message["content"] for document in whole for message in document.get("messages", ())}


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.texts is not None])
def test_every_text_of_a_document_is_found_tokenized(world, bytes_form, name, monkeypatch):
    """A text that is written in another way than it was tokenized (a space before it) is missed without a word."""
    (source,) = open_sources({name: world[name]}, bytes_form).values()
    source.know_texts()
    found: set[str] = set()
    find = KnownTexts.find

    def noted(self, text):
        ids = find(self, text)
        found.update([text.removeprefix(" ")] if ids is not None else [])
        return ids

    monkeypatch.setattr(KnownTexts, "find", noted)
    for index in range(source.num_documents):
        source.sequence(index, index)
    assert found == texts_of_documents(source) and found


def kept_out(task: str) -> list[str]:
    read = (*TASKS[task].reads, *_ALWAYS_READ)
    return [field.name for field in dataclasses.fields(SourceConfig) if field.name not in read]


GIVEN = {
    "store": "units",
    "documents": "d.jsonl",
    "manifest": "m.jsonl",
    "frames": "frames",
    "speakers": ["a"],
    "order": "full",
    "spans": "heard",
}
GIVEN |= {"joined_tokens": 0, "switch_probability": 0.5, "shortest_run": 2}
GIVEN |= {"span_words": 3.0, "num_sentences": 2, "unit_noise": 0.1, "control_tokens": ["<think>"]}
GIVEN |= {"compression": CompressionConfig()}
GIVEN |= {"targets": "targets", "text_words": 0.5, "text_documents": 0.5, "transcribing_weight": 1.0}
GIVEN |= {"teacher_states": "states", "language_exponent": 0.5}


@pytest.mark.parametrize(("task", "key"), [(task, key) for task in TASKS for key in kept_out(task)])
def test_a_key_that_a_task_does_not_read_is_refused_before_anything_is_read(form, task, key):
    config = dataclasses.replace(SourceConfig(task, 1), **{key: GIVEN[key]})
    with pytest.raises(UserError, match=f"the source a has the task {task}, which does not read {key}: leave it out"):
        open_sources({"fine": SourceConfig("text", 1, documents="nowhere"), "a": config}, form)


def test_the_keys_that_tasks_read_are_those_of_a_source():
    known = {field.name for field in dataclasses.fields(SourceConfig)}
    assert all(set(task.reads) <= known for task in TASKS.values())
    assert {"spans", "span_words"} <= set(kept_out("text")) and "order" in kept_out("asr")


def test_the_fields_of_text_documents_are_those_that_corpora_are_prepared_with():
    named = {name: task.fields for name, task in TASKS.items() if task.source == "documents"}
    assert named == TEXT_FIELDS


def sources_of_recipes():
    """Name and keys of every source of every recipe; a file laid on others says only what it changes of theirs."""
    read = {path: sources_in(path) for path in sorted((ROOT / "recipes").rglob("*.yaml"))}
    for path, sources in read.items():
        for name, values in sources.items():
            below = [it[name] for at, it in read.items() if at.parent == path.parent and "task" in it.get(name, {})]
            assert below, f"{path}: no file beside it gives {name} its task"
            for number, under in enumerate([{}] if "task" in values else below):
                yield pytest.param(name, under | values, id=f"{path.parent.name}-{path.stem}-{name}-{number}")


def sources_in(path):
    return yaml.safe_load(path.read_text(encoding="utf-8")).get("sources") or {}


@pytest.mark.parametrize(("name", "values"), list(sources_of_recipes()))
def test_the_sources_of_every_recipe_read_the_keys_that_they_give(name, values):
    """And one key more, of another task, would be refused."""
    found = SourceConfig(**values)
    check_keys(name, found)
    others = {"switch_probability": 0.5, "spans": "any"}
    key = next(key for key in others if key not in TASKS[found.task].reads)
    with pytest.raises(UserError, match=f"does not read {key}"):
        check_keys(name, dataclasses.replace(found, **{key: others[key]}))


def test_a_store_with_other_tags_is_filtered_and_written_by_the_one_of_its_language(tmp_path, form):
    said = {"en": "EN", "zh": "zh_CN"}
    spoken = [dataclasses.replace(row, language=said[row.language]) for row in rows()]
    facts = {"fingerprint": "small", "card": "small", "codebook_sizes": (CODEBOOK_SIZE,), "frame_rate_hz": 25.0}
    facts["in_documents"] = True
    for name, stored in (("plain", rows()), ("other", spoken)):
        write_store(str(tmp_path / name), stored, **facts)
    for task in ("asr", "code_switched"):
        pair = [
            open_sources({"a": SourceConfig(task, 1, str(tmp_path / name), languages=languages)}, form)["a"]
            for name, languages in (("plain", ["zh", "en"]), ("other", ["cmn", "en"]))
        ]
        assert pair[0].languages == pair[1].languages == ["en", "zh"]
        assert [pair[0].sequence(it, it).spans for it in range(9)] == [
            pair[1].sequence(it, it).spans for it in range(9)
        ]
    with pytest.raises(UserError, match="other: 'Klingon' is"):
        write_store(
            str(tmp_path / "none" / "other"), [dataclasses.replace(row, language="Klingon") for row in rows()], **facts
        )
        open_sources({"a": SourceConfig("asr", 1, str(tmp_path / "none" / "other"))}, form)
