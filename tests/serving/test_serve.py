"""``cslm serve``: what it opens and refuses before it listens; the page ``docs/serving.md`` does what it shows."""

from __future__ import annotations

import ast
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from cslm.audio import voice_activity
from cslm.configuration import parse_configuration
from cslm.errors import MissingExtraError, UserError
from cslm.serving import running_server
from cslm.serving.serve import ServeConfig, addresses, open_served, server_options

ROOT = Path(__file__).resolve().parents[2]


def options(**given: Any) -> Any:
    return server_options(ServeConfig("checkpoint", **given))


def test_every_small_event_waited_forty_milliseconds_for_the_clients_acknowledgement() -> None:
    """asyncio sends at once only on sockets that say they are TCP, and ours did not."""
    with running_server._listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_this_machine_alone_by_default() -> None:
    found = options()
    assert found.host == "127.0.0.1" and found.token is None and set(found.hosts) == {"localhost", "127.0.0.1", "::1"}
    assert "here.example" in options(allowed_hosts=["here.example"]).hosts


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "here.example"])
def test_any_other_address_needs_a_token(host: str) -> None:
    with pytest.raises(UserError, match="others can reach.*--token random"):
        options(host=host)
    found = options(host=host, token="random")
    assert found.hosts is None and len(found.token) == 32 and found.token != options(token="random").token


def test_the_address_that_was_printed_was_refused() -> None:
    """127.0.0.2 was none of the names that the server knew, nor the IP that it listened on beside allowed hosts."""
    assert "127.0.0.2" in options(host="127.0.0.2").hosts
    assert "192.168.0.7" in options(host="192.168.0.7", token="random", allowed_hosts=["here.example"]).hosts
    assert "0.0.0.0" not in options(host="0.0.0.0", token="random", allowed_hosts=["here.example"]).hosts


def test_an_address_that_nobody_can_open_was_printed() -> None:
    assert addresses("127.0.0.1", 80, None) == [
        "open http://127.0.0.1:80/",
        "clients: http://127.0.0.1:80/v1, ws://127.0.0.1:80/v1/realtime; Ctrl+C ends",
    ]
    assert addresses("::", 80, "x")[0] == "open http://[::1]:80/#token=x"
    first, clients, others = addresses("0.0.0.0", 80, "x")
    assert first == "open http://127.0.0.1:80/#token=x" and "0.0.0.0" not in clients
    assert others == "from another machine: the same, with this machine's name or address in the place of 127.0.0.1"


def test_a_token_from_a_file_and_none_that_can_be_guessed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef\nmore\n")
    assert options(token_file=str(tmp_path / "token")).token == "0123456789abcdef"
    with pytest.raises(UserError, match="token_file: .*none cannot be read"):  # once a traceback
        options(token_file=str(tmp_path / "none"))
    with pytest.raises(UserError, match="16 printable"):
        options(token="short")
    with pytest.raises(UserError, match="both given"):
        options(token="random", token_file="x")


def test_limits_are_checked_by_name() -> None:
    with pytest.raises(UserError, match="limits.num_replies is 0"):
        parse_configuration(ServeConfig, ["x", "--limits.num_replies", "0"], "serve", ("checkpoint",))
    with pytest.raises(UserError, match="min_rate_hz 50000 is above"):
        parse_configuration(ServeConfig, ["x", "--limits.min_rate_hz", "50000"], "serve", ("checkpoint",))


def test_a_checkpoint_without_its_tokenizer_or_voice_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "mute")
    shutil.rmtree(folder / "speech" / "decoder")
    with pytest.raises(UserError, match="no speech decoder"):
        open_served(ServeConfig(str(folder)))
    (folder / "speech" / "card.yaml").unlink()
    with pytest.raises(UserError, match="does not bring its speech tokenizer"):
        open_served(ServeConfig(str(folder)))
    assert open_served(ServeConfig(str(checkpoint))).processor.name == "llama"
    assert open_served(ServeConfig(str(checkpoint), name="anna")).processor.name == "anna"


def test_a_port_that_is_taken_is_one_line(speaking: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = running_server.ServerOptions(port=taken.getsockname()[1])
        with pytest.raises(UserError, match="cannot be listened on"):
            running_server.RunningServer(speaking, "tiny", given)


def test_a_missing_package_names_the_extra(speaking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'cslm[serve]'")):
        running_server.RunningServer(speaking, "tiny", running_server.ServerOptions(port=0))


def test_an_unknown_voice_activity_is_refused_before_the_checkpoint_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no voice activity 'ears'"):
        options(voice_activity="ears")
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    voice_activity._silero_loader.cache_clear()
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'cslm[silero]'")):
        options(voice_activity="silero")


def test_help_needs_no_extra() -> None:
    """What is imported before anything is served, imports none of the extra's packages."""
    for name in ("serve", "running_server", "limits"):
        tree = ast.parse((ROOT / "cslm" / "serving" / f"{name}.py").read_text(encoding="utf-8"))
        modules = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
        assert not [one for one in modules if one.split(".")[0] in ("starlette", "uvicorn", "websockets")]
        ours = {one.removeprefix("cslm.serving.") for one in modules if one.startswith("cslm.serving.")}
        assert ours <= {"running_server", "limits"}


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_the_command_listens_answers_and_ends(checkpoint: Path, asked: int) -> None:
    """Ctrl+C, which it says will end it, printed a traceback."""
    command = [sys.executable, str(ROOT / "recipes" / "serve.py"), str(checkpoint), "--port", "0", "--token", "random"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            found = re.fullmatch(r"open (http://127\.0\.0\.1:\d+/)#token=(\S{32})\n", running.stdout.readline())
            assert found is not None and "ws://" in running.stdout.readline()
            with urllib.request.urlopen(f"{found[1]}health", timeout=600) as answer:
                assert json.load(answer)["status"] == "ok"
            asking = urllib.request.Request(f"{found[1]}v1/models", headers={"Authorization": f"Bearer {found[2]}"})
            with urllib.request.urlopen(asking, timeout=600) as answer:
                assert json.load(answer)["data"][0]["id"] == "llama"
        finally:
            running.send_signal(asked)
            assert running.wait(600) in (0, -15, 143) and "Traceback" not in (running.stderr.read() or "")
