from __future__ import annotations

import dataclasses
import os
from collections import Counter
from itertools import pairwise

import pytest

from cslm.batches.order import name_seed
from cslm.batches.parts import Part
from cslm.batches.sources import SourceConfig, open_sources
from cslm.batches.told_before import told_before_training
from cslm.errors import UserError
from cslm.sequences.sequence import Sequence
from tests.worlds.small_world import open_stream
from tests.worlds.spoken_stories import SPOKEN_IDS, sentence, store_of, story_source, told_in

SIZES = {"tokens_per_step": 900, "tokens_per_micro_batch": 400, "max_length": 300, "seed": 3}


@pytest.fixture(autouse=True)
def own_cache(cache):
    return cache


@pytest.fixture
def store(tmp_path):
    """Ten stories of three to five sentences, in English and French."""
    rows = [row for row in told_in(["en", "fr"], 10, 5) if row.place < 3 + int(row.document.split("-")[1]) % 3]
    return store_of(tmp_path / "units", rows)


def opened(form, store, part: Part = Part(), **keys):  # noqa: B008
    (source,) = open_sources({"a": story_source(store, **keys)}, form, part).values()
    return source


def said(form, document: Sequence) -> list[str]:
    """``story place language`` of each whole sentence, from the units themselves."""
    found = []
    for span in document.spans:
        if span.modality == "speech" and span.stop - span.start == 3:
            story, place, language = (document.ids[span.start : span.stop] - form.vocabulary.first_unit_id).tolist()
            found.append(f"{story} {place - 10} {('en', 'fr', 'de')[language - 20]}")
            assert ("en", "fr", "de")[language - 20] == span.language
    return found


def test_what_is_said_goes_on_while_languages_change(form, store):
    source = opened(form, store)
    languages = Counter()
    for index in range(source.num_documents):
        for seed in range(10):
            sentences = [line.split() for line in said(form, source.sequence(index, seed))]
            assert [(int(story), int(place)) for story, place, _ in sentences] == [
                (index, place) for place in range(3 + index % 3)
            ]
            languages.update(language for _, _, language in sentences)
    assert source.num_documents == 10 and source.languages == ["en", "fr"]
    assert abs(languages["en"] - languages["fr"]) < 0.15 * languages.total()


def test_stories_of_one_language_are_told_in_it(form, store):
    source = opened(form, store, languages=["fr"])
    assert source.languages == ["fr"] and source.language_shares == {"fr": 1.0}
    assert said(form, source.sequence(1, 5)) == ["1 0 fr", "1 1 fr", "1 2 fr", "1 3 fr"]


def test_keys_of_switching_are_kept(form, store):
    alternating = opened(form, store, switch_probability=1.0)
    languages = [line.split()[2] for line in said(form, alternating.sequence(2, 0))]
    assert languages in (["en", "fr", "en", "fr", "en"], ["fr", "en", "fr", "en", "fr"])
    staying = opened(form, store, switch_probability=0.0)
    assert all(len({line.split()[2] for line in said(form, staying.sequence(i, i))}) == 1 for i in range(10))
    long = opened(form, store, switch_probability=1.0, shortest_run=3)
    languages = [line.split()[2] for line in said(form, long.sequence(2, 0))]
    assert languages[:3] == [languages[0]] * 3 and languages[3] != languages[0]


def test_golden(form, root, store):
    """A story as a document by itself, and joined ones cut at 60 ids."""
    lines = []
    for title, keys in (("apart", {}), ("joined to 60 ids", {"joined_tokens": 60})):
        source = opened(form, store, **keys)
        for draw in range(2):
            document = source.drawn(draw, 7, 1.0)
            languages = " ".join(span.language for span in document.spans if span.modality == "speech")
            lines += [f"{title}, draw {draw}: {len(document)} ids, {languages}", form.render(document), ""]
    path = root / "tests" / "golden" / "sequences" / "stories.txt"
    if os.environ.get("CSLM_UPDATE_GOLDEN"):
        path.write_text("\n".join(lines), encoding="utf-8")
    assert "\n".join(lines) == path.read_text(encoding="utf-8")


def test_joined_documents_are_full(form, store):
    source = opened(form, store, joined_tokens=64)
    for draw in range(20):
        document = source.drawn(draw, 7, 1.0)
        assert len(document) == 64 and document.trained.all()
        assert document.spans[-1].stop == 64 and all(span.stop > span.start for span in document.spans)


def test_an_epoch_of_joined_documents_reads_every_story_about_once(form, tmp_path):
    store = store_of(tmp_path / "many", told_in(["en"], 30, 4))
    source = opened(form, store, joined_tokens=4 * (4 * SPOKEN_IDS + 1))
    assert source.num_documents == 8
    for epoch in range(2):
        documents = [source.drawn(epoch * 8 + place, 7, 1.0) for place in range(7)]
        stories = [line.split()[0] for document in documents for line in said(form, document)[::4]]
        assert len(set(stories)) == len(stories) == 28, "four whole stories fit, and none comes twice"


def test_languages_of_few_stories_are_sampled_more_than_once(form, store):
    """One document held them all, and its draw was taken for the whole."""
    shares = opened(form, store, joined_tokens=2000).language_shares
    assert shares["en"] == pytest.approx(0.5, abs=0.05) and sum(shares.values()) == pytest.approx(1)


def test_a_document_that_holds_all_stories_reads_each_as_often(form, store):
    source = opened(form, store, languages=["en"], joined_tokens=800)
    document = source.drawn(3, 7, 1.0)
    stories = [line.split()[0] for line in said(form, document) if line.split()[1] == "0"]
    assert len(document) == 800 and len(stories) > 30 and len(set(stories)) == 10
    counts = [stories.count(story) for story in set(stories)]
    assert max(counts) - min(counts) <= 2, "epoch after epoch, one begun before and one cut"


def test_every_epoch_joins_other_stories(form, store):
    source = opened(form, store, joined_tokens=120)

    def neighbours(epoch):
        found = set()
        for place in range(source.num_documents):
            document = source.drawn(epoch * source.num_documents + place, 7, 1.0)
            found.update(pairwise(dict.fromkeys(line.split()[0] for line in said(form, document))))
        return found

    assert neighbours(0) != neighbours(1)


def test_a_stream_gives_the_documents_that_are_drawn(form, store):
    stream = open_stream({"a": story_source(store, joined_tokens=150)}, form, **SIZES)
    source, seed = stream.sources["a"], name_seed(3, "a")
    for slot in range(8):
        assert stream.document(slot)[1].ids.tolist() == source.drawn(slot, seed, 1.0).ids.tolist()
    assert stream.groups == ["story/marker/en", "story/marker/fr", "story/speech/en", "story/speech/fr",
                             "story/template/en", "story/template/fr", "story/text/en", "story/text/fr"]  # fmt: skip


def test_utterances_without_stories_are_joined_as_they_are(form, tmp_path):
    rows = [sentence(story, 0, "en", document=None, place=None) for story in range(8)]
    source = opened(form, store_of(tmp_path / "s", rows), task="speech", joined_tokens=4 * (SPOKEN_IDS + 1))
    assert source.num_documents == 2
    for epoch in range(3):
        documents = [source.drawn(2 * epoch + place, 1, 1.0) for place in range(2)]
        read = [line for document in documents for line in said(form, document)]
        assert len(read) == len(set(read)) == 8
    alone = opened(form, store_of(tmp_path / "t", rows), task="speech")
    assert alone.num_documents == 8 and said(form, alone.sequence(4, 0)) == ["4 0 en"]


def test_a_story_keeps_its_voice(form, tmp_path):
    rows = [
        dataclasses.replace(
            row, id=f"{row.id}-{voice}", speaker=voice, units=sentence(number, row.place, row.language).units
        )
        for row in told_in(["en", "fr"], 6, 5)
        for number, voice in enumerate(("anna", "bob"))
    ]
    source = opened(form, store_of(tmp_path / "s", rows))
    voices = [{line.split()[0] for line in said(form, source.sequence(index, seed))}
              for index in range(6) for seed in range(5)]  # fmt: skip
    assert all(len(heard) == 1 for heard in voices), "the first unit of a sentence is its voice here"
    assert {next(iter(heard)) for heard in voices} == {"0", "1"}


def test_a_languages_own_voice_is_kept_where_languages_have_other_ones(form, tmp_path):
    names = {"en": ("anna", "bob"), "fr": ("amelie", "bruno")}
    rows = [
        dataclasses.replace(row, id=f"{row.id}-{number}", speaker=names[row.language][number],
                            units=sentence(number, row.place, row.language).units)
        for row in told_in(["en", "fr"], 6, 5)
        for number in (0, 1)
    ]  # fmt: skip
    source = opened(form, store_of(tmp_path / "s", rows))
    for index in range(6):
        heard = {(line.split()[2], line.split()[0]) for line in said(form, source.sequence(index, index))}
        assert len(heard) == len({language for language, _ in heard})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"switch_probability": 1.5}, "switch_probability 1.5: give 0 to 1"),
        ({"shortest_run": 0}, "shortest_run 0: give 1 or more"),
        ({"joined_tokens": -1}, "joined_tokens -1: give 0, or 2 or more"),
        ({"joined_tokens": 1}, "joined_tokens 1: give 0, or 2 or more"),
        ({"languages": ["fr"], "switch_probability": 0.5}, "switch_probability 0.5, and stories in fr alone"),
        ({"languages": ["fr"], "shortest_run": 2}, "shortest_run 2, and stories in fr alone"),
        ({"languages": ["fr", "de"]}, "wants language de, which .* does not have; it has en, fr"),
    ],
)
def test_keys_that_cannot_be_kept_are_refused(form, store, keys, message):
    with pytest.raises(UserError, match=f"the source a .*{message}"):
        opened(form, store, **keys)


def test_languages_that_share_no_story_are_refused_before_anything_is_learnt(form, tmp_path):
    rows = [*told_in(["en"], 2), *(sentence(story, 0, "fr") for story in (7, 8))]
    store = store_of(tmp_path / "s", rows)
    with pytest.raises(UserError, match="no sentence of them is there in two languages: say in the manifest"):
        opened(form, store)
    assert opened(form, store, switch_probability=0.0).num_documents == 4


def test_a_store_without_stories_is_named(form, tmp_path):
    store = store_of(tmp_path / "s", [sentence(0, 0, "en", document=None, place=None)])
    with pytest.raises(UserError, match="the source a has no stories left of"):
        opened(form, store)


def test_what_is_left_out_is_told_before_training(form, tmp_path):
    rows = [row for row in told_in(["en", "fr"], 4, 5) if row.place != 2 or row.document != "story-1"]
    config = story_source(store_of(tmp_path / "s", rows))
    sources = open_sources({"a": config}, form)
    assert list(told_before_training(sources, {"a": config}, 300)) == [
        "the source a: stories read in parts, for sentences inside are missing: 1 (story-1)"
    ]


def test_a_story_is_held_out_from_all_sources_of_its_store(form, store):
    """What one source validates on, no other may learn from."""
    learnt = opened(form, store, Part(0.4), task="speech")
    held_out = opened(form, store, Part(0.4, held_out=True))
    seen, kept = (
        {line.split()[0] for index in range(source.num_documents) for line in said(form, source.sequence(index, 0))}
        for source in (learnt, held_out)
    )
    assert seen and kept and not seen & kept


def test_a_run_says_to_what_length_stories_are_joined(form, store):
    config = dataclasses.replace(story_source(store), joined_tokens=None)
    (source,) = open_sources({"a": config}, form, joined_tokens=80).values()
    assert len(source.sequence(0, 0)) == 80
    (apart,) = open_sources({"a": dataclasses.replace(config, joined_tokens=0)}, form, joined_tokens=80).values()
    assert len(apart.sequence(0, 0)) == 3 * SPOKEN_IDS + 1
    (text_free,) = open_sources({"a": SourceConfig("asr", 1, str(store.path))}, form, joined_tokens=80).values()
    assert text_free.num_documents == len(store)
