"""Folders of pairs: who is paired with whom, against the rule written anew, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cslm.errors import UserError
from cslm.evaluation.pair_folders import SALMON_PARTS, PairFolder, recorded_pairs


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def pairs_of(root: Path, layout: str, notes: list[str] | None = None, **settings) -> list[tuple[str, str]]:
    found = recorded_pairs(PairFolder(".", layout, **settings), root, [] if notes is None else notes)
    return [(pair.right.name, pair.wrong.name) for pair in found]


def test_recordings_are_paired_by_number_not_by_name(tmp_path):
    touch(tmp_path, "10_b.wav", "9_z.wav", "8_a.wav", "11_a.wav", "readme.txt", "12_x.mp3")
    assert pairs_of(tmp_path, "storycloze") == [("8_a.wav", "9_z.wav"), ("10_b.wav", "11_a.wav")]
    assert pairs_of(tmp_path, "topiccloze") == pairs_of(tmp_path, "storycloze")


def test_sblimp_ends_its_numbers_with_a_plus_and_lies_in_subfolders(tmp_path):
    touch(tmp_path / "voice_b", "0+a_b.wav", "1+c_d.wav")
    touch(tmp_path / "voice_a", "4+a.wav", "5+b.wav")
    assert pairs_of(tmp_path, "sblimp") == [("4+a.wav", "5+b.wav"), ("0+a_b.wav", "1+c_d.wav")]
    with pytest.raises(UserError, match=r"holds no pair of the layout sblimp.*subfolders true"):
        pairs_of(tmp_path, "sblimp", subfolders=False)


def test_swuggy_lies_in_subfolders_unless_it_is_said_not_to(tmp_path):
    touch(tmp_path, "0_brick.wav", "1_blick.wav")
    with pytest.raises(UserError, match=r"holds no pair of the layout swuggy.*subfolders false"):
        pairs_of(tmp_path, "swuggy")
    assert pairs_of(tmp_path, "swuggy", subfolders=False) == [("0_brick.wav", "1_blick.wav")]


def test_the_order_of_the_file_system_decides_nothing(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{number}_{number % 7}.wav" for number in range(40)))
    before = pairs_of(tmp_path, "storycloze")
    listed = Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, pattern: sorted(listed(path, pattern), reverse=True))
    assert pairs_of(tmp_path, "storycloze") == before


def test_salmon_has_eight_parts_whose_right_one_comes_first_by_name(tmp_path):
    for part in SALMON_PARTS:
        touch(tmp_path / part, "sample_10_1.wav", "sample_10_0.wav", "sample_2_0.wav", "sample_2_1.wav")
    found = recorded_pairs(PairFolder(".", "salmon"), tmp_path, [])
    assert [pair.kind for pair in found[::2]] == list(SALMON_PARTS) and len(SALMON_PARTS) == 8
    assert [(pair.right.name, pair.wrong.name) for pair in found[:2]] == [
        ("sample_2_0.wav", "sample_2_1.wav"), ("sample_10_0.wav", "sample_10_1.wav"),
    ]  # fmt: skip
    one = recorded_pairs(PairFolder(".", "salmon", parts=["rir_consistency"]), tmp_path, [])
    assert {pair.kind for pair in one} == {"rir_consistency"}


def test_a_third_recording_of_a_number_is_named_and_left_out(tmp_path):
    touch(tmp_path / "rir_consistency", "sample_0_0.wav", "sample_0_1.wav", "sample_0_2.wav")
    found = pairs_of(tmp_path, "salmon", notes := [], parts=["rir_consistency"])
    assert found == [("sample_0_0.wav", "sample_0_1.wav")] and len(notes) == 1
    assert "1 recordings are the third or later of their number and left out: ['sample_0_2.wav']" in notes[0]


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (("0_a", "1_a", "3_a", "4_a"), r"1 of 2 pairs are not the next two (3_a.wav and 4_a.wav)"),
        (
            ("0_a", "5_a", "9_a", "12_a"),
            r"2 of 2 pairs are not the next two (0_a.wav and 5_a.wav; 9_a.wav and 12_a.wav)",
        ),
    ],
)
def test_numbers_with_gaps_are_paired_as_sorted_and_named(tmp_path, names, named):
    files = [f"{name}.wav" for name in names]
    touch(tmp_path, *files)
    assert pairs_of(tmp_path, "storycloze", notes := []) == [(files[0], files[1]), (files[2], files[3])]
    assert len(notes) == 1 and named in notes[0]


def test_numbers_without_gaps_are_paired_without_a_word(tmp_path):
    touch(tmp_path, *(f"{number}_a.wav" for number in range(7, 13)))
    assert len(pairs_of(tmp_path, "storycloze", notes := [])) == 3 and notes == []


@pytest.mark.parametrize(
    ("layout", "names", "message"),
    [
        ("storycloze", ("0_a", "1_a", "2_a"), r"holds 3 recordings: one has no partner; "),
        ("storycloze", ("0_a", "1_a", "2_a", "4_a", "5_a"), r"no number 3 between 2_a\.wav and 4_a\.wav"),
        ("storycloze", ("0_right", "0_wrong"), r"0_right\.wav and 0_wrong\.wav have one number"),
        ("storycloze", ("0_a", "b_a"), r"b_a\.wav: the name of a recording must begin with a whole number and '_'"),
        ("storycloze", ("0+a", "1+a"), r"must begin with a whole number and '_'"),
        ("storycloze", ("._0_a", "1_a"), r"\._0_a\.wav: the name"),
        ("storycloze", (), r"holds no pair of the layout storycloze"),
    ],
)
def test_what_cannot_be_paired_is_one_line(tmp_path, layout, names, message):
    touch(tmp_path, *(f"{name}.wav" for name in names))
    with pytest.raises(UserError, match=message):
        pairs_of(tmp_path, layout)


def test_salmon_with_gaps_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"bg_alignment: there is no such folder"):
        pairs_of(tmp_path, "salmon")
    touch(tmp_path / "bg_alignment", "sample_0_0.wav", "sample_0_1.wav", "sample_3_1.wav")
    with pytest.raises(UserError, match=r"1 recordings have no partner of their number \(sample_3_1\.wav\)"):
        pairs_of(tmp_path, "salmon", parts=["bg_alignment"])
    touch(tmp_path / "bg_alignment", "odd.wav")
    with pytest.raises(UserError, match=r"odd\.wav: .* must hold a whole number behind its first '_'"):
        pairs_of(tmp_path, "salmon", parts=["bg_alignment"])
    touch(tmp_path / "rir_consistency")
    with pytest.raises(UserError, match=r"rir_consistency holds no recording"):
        pairs_of(tmp_path, "salmon", parts=["rir_consistency"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "blimp"}, "layout is 'blimp': choose one of swuggy, sblimp"),
        ({"layout": "swuggy", "parts": ["a"]}, "has no parts"),
        ({"layout": "salmon", "subfolders": True}, "leave subfolders out"),
        ({"layout": "salmon", "parts": ["rir"]}, r"parts is \['rir'\]: choose of bg_alignment"),
        ({"layout": "salmon", "parts": []}, r"parts is \[\]"),
        ({"layout": "swuggy", "language": "english"}, "english"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        PairFolder("x", **settings)
