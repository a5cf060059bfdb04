"""The page of the batch jobs says what works: its path from a folder of FLAC to a verified store is walked."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import soundfile

from cslm import cli
from tests.worlds.small_corpus import glide

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = [
    block
    for page in ("tools/README.md", "tokenizers/README.md")
    for block in re.findall(r"^```bash\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
]
COMMANDS = [
    words
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if (words := shlex.split(line, comments=True))
]


def verb(words: list[str]) -> str | None:
    """The verb of a command, or None where it is none of ours."""
    if words[0] == "cslm":
        return words[1]
    return Path(words[1]).stem.replace("_", "-") if words[0] == "python" and "bench" not in words[1] else None


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_names_a_verb_and_options_that_exist(words, capsys):
    assert words[0] in ("python", "cslm", "curl")
    if words[0] == "python":
        assert (ROOT / words[1]).is_file()
    if verb(words) is None:
        return
    name = ["table"] if verb(words) == "prepare-corpus" else []
    with pytest.raises(SystemExit):
        cli.dispatch([verb(words), *name, "--help"])
    told = capsys.readouterr().out
    for option in (word for word in words if word.startswith("--") and not word.startswith("--parameters.")):
        assert option in told, option


def test_from_a_folder_of_flac_and_a_tsv_to_a_store(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CSLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "AUDIO" / "a").mkdir(parents=True)
    rows = ["path\tsentence\tspeaker"]
    for index in range(1, 6):
        soundfile.write(tmp_path / "AUDIO" / "a" / f"{index}.flac", glide(index, 1.0 + index / 10), 16000)
        rows.append(f"a/{index}\tsentence {index}\tann")
    (tmp_path / "AUDIO" / "table.tsv").write_text("\n".join(rows))
    first = BLOCKS[0].replace("\\\n", " ").splitlines()
    steps = [words for words in (shlex.split(line, comments=True) for line in first) if words]
    quick = {"fit-tokenizer": ["--codebook_size", "16"], "tokenize-corpus": ["--num_workers", "1"]}
    assert [verb(words) for words in steps] == ["prepare-corpus", "fit-tokenizer", "tokenize-corpus", "verify", "show"]
    for words in steps:
        cli.dispatch([verb(words), *words[2:], *quick.get(verb(words), [])])
    told = capsys.readouterr().out
    assert "STORE: whole; 1 shards, 5 utterances" in told
    assert "0.0000% of their units differ" in told
    assert (tmp_path / "STORE" / "rejected.jsonl").read_text() == ""
