"""What docs/judging.md shows is what can be done: its YAML is read, its Python runs."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
import yaml

from cslm.cli import dispatch
from cslm.evaluation.judge_prompts import load_judge_prompt
from cslm.evaluation.score import parse_score_configuration
from cslm.files.json_lines import write_json_lines
from tests.docs.pages import blocks as blocks_of
from tests.docs.pages import commands
from tests.worlds.chat_server import Say, chat_server

PAGE = "docs/judging.md"


def blocks(language: str) -> list[str]:
    return [textwrap.dedent(found) for found in blocks_of(PAGE, language)]


def test_the_settings_of_the_page_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command of the page does with them is tested in test_written_answers.py."""
    monkeypatch.chdir(tmp_path)
    endpoint, local, _, prompt, timed = blocks("yaml")
    dialogue = {"questions": "q.jsonl", "dialogues": "d.jsonl"}
    others = [yaml.safe_dump({"scores": {"dialogue": dialogue | yaml.safe_load(text)}}) for text in (local, timed)]
    (command,) = [one for one in commands(PAGE) if "recipes/score.py" in one.words]
    path = Path("score.yaml")
    found = []
    for text in (endpoint, *others):
        path.write_text(text)
        found.append(parse_score_configuration(command.words[2:]).scores.dialogue)
    assert found[0].judge.chat.endpoint.api_key_variable == "JUDGE_KEY"
    assert found[1].judge.chat.local.template == {"enable_thinking": False} and found[2].timed_items == 20
    path.write_text(prompt)
    assert load_judge_prompt(str(path)).scale == (1, 5)


def test_the_replies_of_another_system_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUDGE_KEY", "mine")
    (command,) = [one for one in commands(PAGE) if "tools/judge.py" in one.words]
    write_json_lines([{"prompt": f"What is {n}?", "response": f"{n}."} for n in "abc"], tmp_path / "THEIRS.jsonl")
    with chat_server(lambda body, _: Say('{"reason": "It is.", "score": 4}')) as server:
        Path("judge.yaml").write_text(blocks("yaml")[2].replace("https://api.openai.com/v1", server.base_url))
        dispatch(["judge", *command.words[2:]])
        assert server.keys == ["Bearer mine"] * 3
    found = json.loads(Path("OUT/theirs.json").read_text(encoding="utf-8"))
    assert found["scores"]["dialogue"]["en-en"]["judge_score"] == 4.0
    Path("OUT/results.json").write_text(json.dumps(found))
    dispatch(["report", "OUT"])
    assert "judge: mean score" in Path("OUT/report.html").read_text(encoding="utf-8")


def test_the_python_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    with chat_server(lambda body, _: Say('{"score": 4}')) as server:
        exec(code.replace("http://localhost:8000/v1", server.base_url), {})
    assert capsys.readouterr().out == "[{'score': 4}] {}\n"
