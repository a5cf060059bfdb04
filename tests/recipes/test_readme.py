"""The README says what works: its commands run, with a tiny model and two steps in place of a real base."""

from __future__ import annotations

import importlib
import itertools
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile as sf

from cslm import cli
from cslm.errors import UserError
from tests.recipes.conftest import ROOT, TWO_STEPS

README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = {verb.replace("-", "_"): module for verb, (module, _) in cli.VERBS.items()}
QUICK = {
    "fit_tokenizer": ["--codebook_size", "16", "--sample_hours", "0.01"],
    "tokenize_corpus": ["--num_workers", "1"],
    "pretrain": [*TWO_STEPS, "--model.dtype", "float32", "--training.device.precision", "fp32"],
    "finetune": [*TWO_STEPS, "--model.dtype", "float32", "--training.device.precision", "fp32"],
    "respond": ["--decoding.max_new_tokens", "1500", "--decoding.temperature", "1"],
    "train_decoder": [*TWO_STEPS, "--crop_frames", "16", "--decoder.width", "32"],
}


def blocks(language: str) -> list[str]:
    """The code blocks of a language, without the indent of a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", README, flags=re.MULTILINE | re.DOTALL)
    return ["".join(line.removeprefix(indent) for line in text.splitlines(True)) for indent, text in found]


def commands() -> list[list[str]]:
    """Every command of the README, as the shell would split it."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def verb_of(words: list[str]) -> str | None:
    """The verb that a command runs, as a script or as ``cslm VERB``."""
    script = words[1] if words[0] in ("python", "deepspeed") else ""
    return Path(script).stem if script else words[1].replace("-", "_") if words[0] == "cslm" else None


def call(words: list[str], *more: str) -> None:
    """Run a command of the README in this process."""
    verb = verb_of(words)
    importlib.import_module(MODULES[verb]).main([*words[2:], *QUICK.get(verb, []), *more])


def call_until_it_speaks(words: list[str]) -> None:
    """After two steps a model writes anything: half of its replies end before they have any speech."""
    for seed in range(20):
        try:
            return call(words, "--seed", str(seed))
        except UserError as error:
            assert "no speech" in str(error) or "max_new_tokens" in str(error), error
    raise AssertionError("20 replies without any speech")


def test_there_are_commands():
    verbs = {verb_of(words) for words in commands()}
    assert verbs >= {
        "prepare_corpus",
        "fit_tokenizer",
        "tokenize_corpus",
        "pretrain",
        "finetune",
        "train_decoder",
        "respond",
    }


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_names_what_exists(words):
    if verb_of(words) is not None:
        assert verb_of(words) in MODULES
    if words[0] in ("python", "deepspeed", "bash"):
        assert (ROOT / words[1]).is_file()
    for option, value in itertools.pairwise(words):
        if option == "--config":
            assert (ROOT / value).is_file()


@pytest.mark.parametrize("script", ["tools/quickstart.sh", "tools/test.sh"])
def test_options_of_the_shell_scripts(script):
    done = subprocess.run(["bash", ROOT / script, "--help"], capture_output=True, text=True, check=True)
    assert "--index_url" in done.stdout
    told = re.findall(r"`(?:bash \S+ )?(--\w+)", README)
    if script.endswith("quickstart.sh"):
        assert {"--size", "--seed", "--index_url"} <= {*told} & {*re.findall(r"--\w+", done.stdout)}


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", README):
        assert (ROOT / target).exists(), target


@pytest.fixture(scope="module")
def place(hamlet, tmp_path_factory) -> Path:
    """Where the README's commands are typed: an own corpus in AUDIO, recipes at hand, the hamlet as runs/village."""
    here = tmp_path_factory.mktemp("place")
    (here / "AUDIO" / "wav").mkdir(parents=True)
    (here / "runs").mkdir()
    for name in ("recipes", "tools", "tokenizers"):
        (here / name).symlink_to(ROOT / name)
    (here / "runs" / "village").symlink_to(hamlet)
    manifest = [json.loads(line) for line in (hamlet / "corpus" / "train.jsonl").read_text("utf-8").splitlines()]
    chosen = [row for row in manifest if row["language"] == "zh"][:12]
    for row in chosen:
        shutil.copy(hamlet / "corpus" / row["audio"], here / "AUDIO" / "wav" / f"{row['id']}.wav")
    shutil.copy(hamlet / "corpus" / chosen[0]["audio"], here / "QUESTION.wav")
    shutil.copy(here / "QUESTION.wav", here / "question.wav")
    table = ["id\ttext", *(f"{row['id']}\t{row['text']}" for row in chosen)]
    (here / "AUDIO" / "table.tsv").write_text("\n".join(table) + "\n", encoding="utf-8")
    return here


def test_an_own_corpus_becomes_a_spoken_reply(place, hamlet, monkeypatch):
    """From a folder of audio with a table to units, a pre-trained and a fine-tuned model with a decoder, and a reply.

    The README's own path once ended with "no speech decoder": the quickstart alone copied it into the checkpoint.
    """
    monkeypatch.chdir(place)
    own = [words for words in commands() if any("runs/mine" in word for word in words)]
    own = [[str(hamlet / "text_lm") if "/Qwen" in word else word for word in words] for words in own]
    assert [verb_of(words) for words in own][:4] == ["prepare_corpus", "fit_tokenizer", "tokenize_corpus", "pretrain"]
    for words in own:
        if verb_of(words) == "finetune":
            write_dialogues(place / "runs" / "mine" / "corpus")
        call_until_it_speaks(words) if verb_of(words) == "respond" else call(words)
    for result in ("pretrain", "finetune", "decoder"):
        assert (place / "runs" / "mine" / result / "model.safetensors").is_file()
    assert (place / "runs/mine/finetune/speech/decoder/model.safetensors").is_file()
    assert sf.info(place / "ANSWER.wav").frames > 0
    assert json.loads((place / "REPLY.json").read_text("utf-8"))["num_chunks"] > 0


def write_dialogues(corpus: Path) -> None:
    """Every utterance answered by the next."""
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text("utf-8").splitlines()]
    dialogues = [
        {"id": question["id"], "direction": "zh-zh", "question": question["id"], "answer": answer["id"]}
        | {"question_language": "zh", "question_text": question["text"]}
        | {"answer_language": "zh", "answer_text": answer["text"]}
        for question, answer in itertools.pairwise(rows)
    ]
    lines = "".join(json.dumps(dialogue, ensure_ascii=False) + "\n" for dialogue in dialogues)
    (corpus / "dialogues.jsonl").write_text(lines, encoding="utf-8")


def test_the_python_of_the_readme(place, monkeypatch):
    monkeypatch.chdir(place)
    (code,) = blocks("python")
    code = code.replace('answer_language="zh"', 'answer_language="zh", decoding=DecodingConfig(max_new_tokens=40)')
    scope: dict[str, object] = {}
    exec("from cslm.generation.decoding import DecodingConfig\n" + code, scope)
    assert scope["reply"].sample_rate_hz == 22050
