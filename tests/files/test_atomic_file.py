"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cslm.configuration import save_configuration
from cslm.files.atomic_file import create_atomically, file_aside, folder_aside, write_atomically
from cslm.files.json_lines import read_json_lines, write_json_lines


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def broken_records():
    yield {"a": 1}
    raise ValueError("a bad record")


def test_a_file_takes_its_name_when_it_is_whole(tmp_path):
    with file_aside(tmp_path / "new" / "file") as temporary:
        temporary.write_bytes(b"all of it")
        assert names(tmp_path / "new") == [temporary.name]
        assert temporary.name.startswith(".file.") and temporary.suffix == ".tmp"
    assert (tmp_path / "new" / "file").read_bytes() == b"all of it"
    assert names(tmp_path / "new") == ["file"]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_atomically(path, b"new"),
        lambda path: write_json_lines([{"a": 1}], path),
        lambda path: save_configuration({"a": 1}, path),
    ],
)
def test_what_stood_there_stays_when_the_disk_is_full(tmp_path, monkeypatch, write):
    (tmp_path / "file").write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cslm.files.atomic_file.os.fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_full_disk_says_for_which_file(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "cslm.files.atomic_file.os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left"))
    )
    with pytest.raises(OSError, match="No space left") as raised:
        write_atomically(tmp_path / "file", b"new")
    assert raised.value.filename == str(tmp_path / "file")


def test_lines_that_cannot_be_made_leave_what_stood_there(tmp_path):
    write_json_lines([{"old": "€"}], tmp_path / "lines")
    with pytest.raises(ValueError, match="a bad record"):
        write_json_lines(broken_records(), tmp_path / "lines")
    assert list(read_json_lines(tmp_path / "lines")) == [(1, {"old": "€"})]
    assert names(tmp_path) == ["lines"]


def test_a_file_is_created_once(tmp_path):
    assert create_atomically(tmp_path / "claim", b"first")
    assert not create_atomically(tmp_path / "claim", b"second")
    assert (tmp_path / "claim").read_bytes() == b"first"
    assert names(tmp_path) == ["claim"]


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path):
    (tmp_path / "folder").mkdir()  # empty: may be there
    with folder_aside(tmp_path / "folder") as aside:
        (aside / "below").mkdir()
        (aside / "below" / "file").write_text("all")
        assert names(tmp_path / "folder") == []
    assert (tmp_path / "folder" / "below" / "file").read_text() == "all"
    assert names(tmp_path) == ["folder"]


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="on the way"), folder_aside(tmp_path / "folder") as aside:
        (aside / "file").write_text("half")
        raise ValueError("on the way")
    assert names(tmp_path) == []


def test_a_folder_that_another_process_made_first_stays(tmp_path):
    with pytest.raises(OSError) as raised, folder_aside(tmp_path / "folder") as aside:
        (aside / "file").write_text("second")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").write_text("first")
    assert raised.value.errno == errno.ENOTEMPTY
    assert (tmp_path / "folder" / "file").read_text() == "first"
    assert names(tmp_path) == ["folder"]


def test_what_a_killed_process_left_is_not_in_the_folder(tmp_path):
    with folder_aside(tmp_path / "folder") as aside:
        left = aside
    left.mkdir()
    (left / "stale").write_text("of a process of the same number")
    (tmp_path / "folder").rmdir()
    with folder_aside(tmp_path / "folder") as aside:
        (aside / "file").write_text("new")
    assert names(tmp_path / "folder") == ["file"]
