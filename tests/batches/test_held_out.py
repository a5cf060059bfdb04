"""What is held out is never trained, and is the same in all sources."""

from __future__ import annotations

import numpy as np
import pytest

from cslm.batches.held_out import HeldOut
from cslm.batches.parts import Part, document_name, name_hash
from cslm.batches.sources import open_sources
from tests.worlds.small_world import open_stream

SHARE = 0.3
LENGTHS = {"tokens_per_step": 3000, "tokens_per_micro_batch": 600, "max_length": 500, "seed": 3}


def parts(world, form):
    """The sources of the trained part and those of the held-out part."""
    return (open_sources(world, form, Part(SHARE, held)) for held in (False, True))


@pytest.mark.parametrize("name", ["asr", "translation", "dialogue", "text"])
def test_two_parts_are_the_whole_and_share_nothing(world, form, name):
    trained, held_out = parts({name: world[name]}, form)
    whole = open_sources({name: world[name]}, form)[name]
    assert trained[name].num_documents + held_out[name].num_documents == whole.num_documents
    texts = [{form.render(source[name].clean_sequence(i, 0)) for i in range(source[name].num_documents)}
             for source in (trained, held_out)]  # fmt: skip
    if name in ("asr", "dialogue"):  # the texts of the others repeat, under an id each
        assert not texts[0] & texts[1]
    assert 0.1 < held_out[name].num_documents / whole.num_documents < 0.5


def test_an_utterance_is_held_out_in_every_source_of_its_store(world, form):
    configs = {name: world[name] for name in ("asr", "tts", "interleaved")}
    trained, held_out = parts(configs, form)
    groups = [{source[name].store.row(int(row)).group for name in configs for row in source[name]._rows}
              for source in (trained, held_out)]  # fmt: skip
    groups = [{group for group in part if group is not None} for part in groups]
    assert groups[0] and groups[1] and not groups[0] & groups[1]


def test_what_a_document_is_called():
    assert document_name({"id": "a", "group": "b", "text": "c"}) == "b"
    assert document_name({"id": 7, "text": "c"}) == "7"
    assert document_name({"text": "c", "language": "en"}) == document_name({"language": "en", "text": "c"})


def test_about_the_share_is_held_out_and_a_larger_share_holds_out_the_same_and_more():
    names = [str(number) for number in range(10_000)]
    hashes = np.array([name_hash(name) for name in names], dtype=np.uint64)
    small, large = (Part(share, held_out=True).keeps(hashes) for share in (0.01, 0.05))
    assert 70 < small.sum() < 130 and (large | ~small).all() and small.sum() < large.sum()
    assert Part().keeps(hashes).all()


def test_rows_hold_every_document_once_for_any_number_of_processes(world, form):
    stream = open_stream(world, form, held_out_share=SHARE, **LENGTHS)
    held_out = HeldOut(open_sources(world, form, Part(SHARE, held_out=True)), stream, max_documents=5)
    assert 5 < len(held_out) <= 5 * len(world)
    tokens = {}
    for world_size in (1, 3):
        rows = [held_out.rows(rank, world_size) for rank in range(world_size)]
        assert len({len(part) for part in rows}) == 1
        learnt = sorted(tuple(row.target_ids.tolist()) for part in rows for row in part)
        tokens[world_size] = sorted(token for row in learnt for token in row)
    assert tokens[1] == tokens[3]
