"""Languages drawn by an exponent: exact shares in every block, every document once an epoch of its language."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cslm.batches.language_balance import BLOCK, LanguageBalance, check_exponent
from cslm.errors import UserError

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
