"""What docs/judging.md shows is what can be done: its YAML is read, its Python runs."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from cslm.configuration import parse_configuration
from cslm.evaluation.judge import JudgeRepliesConfig
from cslm.evaluation.judge_prompts import load_judge_prompt
from cslm.evaluation.score import parse_score_configuration
from tests.worlds.chat_server import Say, chat_server

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "judging.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return [textwrap.dedent(found) for found in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)]


def test_the_settings_of_the_page_are_settings(tmp_path: Path) -> None:
    endpoint, local, replies, prompt, timed = blocks("yaml")
    dialogue = {"questions": "q.jsonl", "dialogues": "d.jsonl"}
    written = [
        endpoint,
        *(yaml.safe_dump({"scores": {"dialogue": dialogue | yaml.safe_load(b)}}) for b in (local, timed)),
    ]
    path = tmp_path / "settings.yaml"
    found = []
    for text in written:
        path.write_text(text)
        found.append(parse_score_configuration(["C", "--output", "r.json", "--config", str(path)]).scores.dialogue)
    assert found[0].judge.chat.endpoint.api_key_variable == "JUDGE_KEY"
    assert found[1].judge.chat.local.template == {"enable_thinking": False} and found[2].timed_items == 20
    path.write_text(replies)
    given = re.search(r"tools/judge.py THEIRS.jsonl (.*?)\n```", PAGE, re.DOTALL)
    assert given is not None
    fields = re.search(r"--fields '(.*?)'", given[1])
    assert fields is not None
    arguments = ["THEIRS.jsonl", "--config", str(path), "--output", "o.json", "--fields", fields[1]]
    assert parse_configuration(JudgeRepliesConfig, arguments, "judge", ("replies",)).fields["answer"] == "response"
    path.write_text(prompt)
    assert load_judge_prompt(str(path)).scale == (1, 5)


def test_the_python_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    with chat_server(lambda body, _: Say('{"score": 4}')) as server:
        exec(code.replace("http://localhost:8000/v1", server.base_url), {})
    assert capsys.readouterr().out == "[{'score': 4}] {}\n"
