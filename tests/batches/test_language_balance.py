"""Languages drawn by an exponent: exact shares in every block, every document once an epoch of its language."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cslm.batches.language_balance import BLOCK, LanguageBalance, check_exponent
from cslm.batches.sources import SourceConfig, open_sources
from cslm.errors import UserError
from cslm.planning.planned_data import plan_sources
from cslm.sequences.sequence_format import SequenceFormat
from cslm.training.training_config import TrainingConfig
from tests.worlds.heard_world import hearing, write_heard_world
from tests.worlds.small_village import small_tokenizer

LANGUAGES = np.array([0] * 900 + [2] * 90 + [3] * 10, dtype=np.int32)


@pytest.mark.parametrize(
    ("exponent", "shares"),
    [(1.0, [0.9, 0.09, 0.01]), (0.0, [1 / 3, 1 / 3, 1 / 3]), (0.5, [30 / 42.65, 9.49 / 42.65, 3.16 / 42.65])],
)
def test_every_block_has_the_shares(exponent, shares):
    balance = LanguageBalance(LANGUAGES, exponent)
    for block in range(3):
        drawn = Counter(int(LANGUAGES[balance.draw(it, 5)]) for it in range(block * BLOCK, (block + 1) * BLOCK))
        assert [drawn[0], drawn[2], drawn[3]] == balance.quotas.tolist()
    np.testing.assert_allclose(balance.quotas / BLOCK, shares, atol=2 / BLOCK)


def test_whole_blocks_take_the_documents_of_a_language_equally_often_and_in_many_orders():
    balance = LanguageBalance(LANGUAGES, 0.0)
    small = [it for it in (balance.draw(number, 1) for number in range(4 * BLOCK)) if LANGUAGES[it] == 3]
    times = Counter(small)
    assert sorted(times) == list(range(990, 1000)) and max(times.values()) - min(times.values()) <= 1
    assert small[:10] != small[10:20]


def test_a_draw_hangs_on_seed_and_number_alone():
    balance = LanguageBalance(LANGUAGES, 0.3)
    drawn = [balance.draw(number, 7) for number in range(50)]
    assert drawn == [LanguageBalance(LANGUAGES, 0.3).draw(number, 7) for number in range(50)]
    assert drawn != [balance.draw(number, 8) for number in range(50)]
    assert 0 <= balance.draw(10**12, 7) < len(LANGUAGES)


def test_a_rare_language_is_never_lost_and_an_exponent_out_of_range_is_refused():
    assert LanguageBalance(np.array([0] * 99_999 + [1], dtype=np.int32), 1.0).quotas.tolist() == [BLOCK - 1, 1]
    for exponent in (-0.1, 1.5):
        with pytest.raises(UserError, match="language_exponent"):
            check_exponent("asr", exponent)


def test_what_is_looked_at_is_shared_out_as_what_is_drawn():
    found = LanguageBalance(LANGUAGES, 0.0).sample(256)
    assert found == sorted(found) and len(found) == 256
    counts = Counter(LANGUAGES[found].tolist())
    assert counts[0] == 86 and counts[2] == counts[3] == 85
    assert set(found) >= {0, 899, 900, 989} | set(range(990, 1000))  # both ends of each, and all of the smallest
    languages = np.arange(300, dtype=np.int32)
    assert LanguageBalance(languages, 0.0).sample(256) == list(range(300))


def test_caps_and_plans_reckon_with_the_languages_as_they_are_drawn(tmp_path):
    root = write_heard_world(tmp_path)
    lines = (root / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    german = [line for line in lines if '"de"' in line]
    (root / "few.jsonl").write_text("\n".join([line for line in lines if line not in german] + german[:1]) + "\n")
    form = SequenceFormat(small_tokenizer(tmp_path / "tokenizer")).hearing_by(hearing())
    shares = {}
    for exponent in (1.0, 0.0):
        config = SourceConfig("audio_asr", 1, manifest=str(root / "few.jsonl"), language_exponent=exponent)
        source = open_sources({"a": config}, form)["a"]
        shares[exponent] = source.language_shares["de"]
        (plan,) = plan_sources({"a": config}, TrainingConfig(max_steps=1), lambda name, it=source: it)
        drawn = [source.drawn(draw, 0, 0.0) for draw in range(512)]
        counts = Counter(span.language for document in drawn for span in document.spans if span.modality == "audio")
        looked_at = Counter(span.language for it in plan.sample for span in it.spans if span.modality == "audio")
        assert looked_at["de"] / looked_at.total() == pytest.approx(counts["de"] / counts.total(), abs=0.03)
    assert shares[1.0] < 0.2 and 0.35 < shares[0.0] < 0.65
