"""What ``docs/serving.md`` shows works: its commands are understood, its Python asks a server, its tables are true."""

from __future__ import annotations

import dataclasses
import json
import re
import wave
from pathlib import Path
from typing import Any

import pytest

from cslm.configuration import parse_configuration
from cslm.serving.limits import LimitsConfig
from cslm.serving.realtime import RealtimeConnection
from cslm.serving.realtime_session import EVENTS
from cslm.serving.serve import ServeConfig, server_options
from tests.docs.pages import blocks, commands, text_of
from tests.worlds.realtime_client import RealtimeClient
from tests.worlds.served import wav

PAGE = "docs/serving.md"


def test_every_command_of_serve_is_understood() -> None:
    found = [command.words for command in commands(PAGE) if command.words[:2] == ["cslm", "serve"]]
    assert len(found) == 2
    for words in found:
        config = parse_configuration(ServeConfig, words[2:], "serve", ("checkpoint",))
        assert server_options(config).host in ("127.0.0.1", "0.0.0.0")


def test_the_python_of_the_page_asks_and_is_answered(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("question.wav").write_bytes(wav())
    names: dict[str, Any] = {}
    for program in blocks(PAGE, "python"):  # the second goes on from the first
        exec(program.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}"), names)
    assert names["reply"].usage.prompt_tokens > 10 and names["reply"].choices[0].message.audio.id != names["answer"].id
    assert capsys.readouterr().out.endswith("\n")
    with wave.open("answer.wav") as file:
        assert file.getframerate() == 24000 and file.getnframes() > 0


def test_the_session_of_the_page_is_the_session(address: str) -> None:
    shown, _ = (json.loads(block) for block in blocks(PAGE, "json"))
    with RealtimeClient(address) as client:
        told = client.first["session"]
    assert shown.keys() == told.keys() and shown["cslm"].keys() == told["cslm"].keys()
    assert shown["audio"] == told["audio"] and shown["output_modalities"] == told["output_modalities"]
    settable = list(shown["cslm"])[: list(shown["cslm"]).index("languages")]
    assert {name: shown["cslm"][name] for name in settable} == {name: told["cslm"][name] for name in settable}


def test_every_event_and_limit_has_its_word() -> None:
    page = text_of(PAGE)
    handled = re.findall(
        r'^            "([\w.]+)": self\._', Path(_file_of(RealtimeConnection)).read_text(), re.MULTILINE
    )
    assert len(handled) == 8 and [name for name in handled if f"`{name}`" not in page] == []
    assert [name for name in EVENTS if f'`"{name}"`' not in page] == []
    limits = [field.name for field in dataclasses.fields(LimitsConfig)]
    assert [name for name in limits if name not in page] == []


def _file_of(one: type) -> str:
    import inspect

    return inspect.getfile(one)
