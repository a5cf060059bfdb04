"""A chat endpoint that fails in all ways: what is answered is kept, what is not is counted, nothing changes places."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from cslm.errors import UserError
from cslm.evaluation.chat import Asked, UnwantedReplyError, count_failures, open_chat, read_text
from cslm.evaluation.chat_config import ChatConfig, EndpointConfig
from cslm.evaluation.chat_contract import ChatText
from tests.worlds.chat_server import Answer, ChatServer, HangUp, Raw, Say, Status, Wait, chat_server

pytest.importorskip("openai")


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def ask(server: ChatServer, folder: Path, texts: list[str], **changed: Any) -> list[Asked[str]]:
    read = changed.pop("read", read_text)
    endpoint = {"timeout_sec": 0.3, "max_retries": 1, **changed.pop("endpoint", {})}
    config = ChatConfig("tiny", EndpointConfig(server.base_url, **endpoint), **changed)
    return open_chat(config, folder).ask([user(text) for text in texts], read)


def bytes_of(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


FAULTS: dict[str, Answer] = {
    "late": Wait(1.0),
    "busy": Status(429),
    "broken": Status(503),
    "gone": HangUp(),
    "no json": Raw("<html>"),
    "no choices": Raw('{"choices": []}'),
    "empty": Say(""),
    "nothing": Say(None),
    "half": Say("half of \ud83d"),
    "filtered": Say("", "content_filter"),
    "too long": Status(400),
}


def test_each_fault_is_counted_by_its_kind_and_lands_on_its_own_item(tmp_path: Path) -> None:
    texts = [text for fault in FAULTS for text in (f"before {fault}", fault)] + ["last"]
    with chat_server(lambda body, _: FAULTS.get(body["messages"][-1]["content"]) or echo(body)) as server:
        found = ask(server, tmp_path, texts)
    for text, one in zip(texts, found, strict=True):
        assert one.value == (None if text in FAULTS else f"echo of {text}"), text
    kinds = {text: one.failure.kind for text, one in zip(texts, found, strict=True) if one.failure}
    assert kinds == {
        "late": "timeout", "busy": "rate_limit", "broken": "server", "gone": "connection", "no json": "malformed",
        "no choices": "malformed", "empty": "malformed", "nothing": "malformed", "half": "malformed",
        "filtered": "filtered", "too long": "refused",
    }  # fmt: skip
    assert count_failures(found) == {
        "connection": 1, "filtered": 1, "malformed": 5, "rate_limit": 1, "refused": 1, "server": 1, "timeout": 1,
    }  # fmt: skip


def echo(body: dict[str, Any]) -> Say:
    return Say(f"echo of {body['messages'][-1]['content']}")


@pytest.mark.parametrize("fault", [Status(429), Status(500), Status(503), HangUp(), Wait(1.0)])
def test_what_fails_once_is_sent_again(tmp_path: Path, fault: Answer) -> None:
    with chat_server(lambda body, before: fault if before == 0 else echo(body)) as server:
        found = ask(server, tmp_path, ["a"])
        assert [one.value for one in found] == ["echo of a"] and server.asked == ["a", "a"]


def test_a_reply_is_asked_for_once_whatever_comes_later(tmp_path: Path) -> None:
    with chat_server(lambda body, _: echo(body)) as server:
        first = ask(server, tmp_path, ["a", "b", "a"])
        assert sorted(server.asked) == ["a", "b"]
        assert ask(server, tmp_path, ["b", "c", "a"])[0] == first[1]
        assert sorted(server.asked) == ["a", "b", "c"]
        ask(server, tmp_path, ["a"], temperature=0.5)
        ask(server, tmp_path, ["a"], max_tokens=7)
        ask(server, tmp_path, ["a"], revision="of May")
        ask(server, tmp_path, ["a"], endpoint={"parameters": {"seed": 1}})
        assert sorted(server.asked) == ["a"] * 5 + ["b", "c"]
    with chat_server(lambda body, _: Say("another machine")) as elsewhere:
        assert ask(elsewhere, tmp_path, ["a", "b"])[1].value == "echo of b" and elsewhere.asked == []


def test_failures_are_not_kept_and_a_later_run_mends_them_to_the_bytes_of_a_smooth_one(tmp_path: Path) -> None:
    texts = list("abcdef")
    with chat_server(lambda body, _: Status(500) if body["messages"][-1]["content"] in "bd" else echo(body)) as server:
        assert count_failures(ask(server, tmp_path / "rough", texts)) == {"server": 2}
    with chat_server(lambda body, _: echo(body)) as server:
        mended = ask(server, tmp_path / "rough", texts)
        assert sorted(server.asked) == ["b", "d"]
        assert mended == ask(server, tmp_path / "smooth", texts)
    assert bytes_of(tmp_path / "rough") == bytes_of(tmp_path / "smooth") != {}


def test_the_work_stops_where_the_endpoint_is_down_and_goes_on_from_what_was_kept(tmp_path: Path) -> None:
    texts = [f"{number:02d}" for number in range(30)]
    few = {"num_parallel": 1, "max_failures_in_a_row": 3, "max_retries": 0}
    with chat_server(lambda body, _: echo(body) if body["messages"][-1]["content"] < "10" else Status(502)) as server:
        with pytest.raises(UserError, match="3 requests in a row failed, the last by HTTP 502.*what was answered is"):
            ask(server, tmp_path, texts, endpoint=few)
        assert len(server.asked) < 20
    with chat_server(lambda body, _: echo(body)) as server:
        assert [one.value for one in ask(server, tmp_path, texts)] == [f"echo of {text}" for text in texts]
        assert sorted(server.asked) == texts[10:]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_wrong_settings_stop_the_work_at_once(tmp_path: Path, status: int) -> None:
    told = f"HTTP {status}.*mend base_url, model or api_key_variable"
    with chat_server(lambda body, _: Status(status)) as server, pytest.raises(UserError, match=told):
        ask(server, tmp_path, ["a"] * 3)


def only_numbers(text: str) -> int:
    if not text.isdigit():
        raise UnwantedReplyError("no number")
    return int(text)


def test_an_unwanted_reply_goes_back_with_its_fault(tmp_path: Path) -> None:
    def script(body: dict[str, Any], _: int) -> Answer:
        item = body["messages"][0]["content"]
        right_after = {"quick": 1, "slow": 5, "never": 99}[item]
        return Say("7") if len(body["messages"]) >= right_after else Say(f"seven for {item}")

    with chat_server(script) as server:
        found = ask(server, tmp_path, ["quick", "slow", "never"], read=only_numbers, max_asks=3)
        assert [one.value for one in found] == [7, 7, None]
        assert found[2].failure is not None and found[2].failure.kind == "unwanted"
        third = next(body for body in server.bodies if len(body["messages"]) == 5)["messages"]
        assert [message["role"] for message in third] == ["user", "assistant", "user", "assistant", "user"]
        assert third[1]["content"].startswith("seven for") and "no number" in third[2]["content"]
        num_sent = len(server.bodies)
        assert found == ask(server, tmp_path, ["quick", "slow", "never"], read=only_numbers, max_asks=3)
        assert len(server.bodies) == num_sent  # what was said, the cache says


def test_a_reply_cut_at_the_limit_is_none(tmp_path: Path) -> None:
    with chat_server(lambda body, _: Say("half a sen", "length")) as server:
        (found,) = ask(server, tmp_path, ["a"], max_asks=2)
    assert found.value is None and found.failure is not None
    assert (found.failure.kind, found.failure.reason) == (
        "unwanted",
        "asked 2 times: the reply was cut off at the limit of length",
    )


def test_a_key_comes_from_the_environment_and_is_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with chat_server(lambda body, _: echo(body)) as server:
        with pytest.raises(UserError, match="api_key_variable is MY_KEY: the environment has no such variable"):
            ask(server, tmp_path, ["a"], endpoint={"api_key_variable": "MY_KEY"})
        monkeypatch.setenv("MY_KEY", "secret-7")
        ask(server, tmp_path, ["a"], endpoint={"api_key_variable": "MY_KEY"})
        assert server.keys == ["Bearer secret-7"]
    kept = [file.read_text(encoding="utf-8") for file in tmp_path.rglob("*.json")]
    assert len(kept) == 1 and "secret-7" not in kept[0] and "127.0.0.1" not in kept[0]
    assert json.loads(kept[0])["request"]["messages"] == user("a")


def test_a_kept_reply_that_was_broken_is_asked_for_again(tmp_path: Path) -> None:
    with chat_server(lambda body, _: echo(body)) as server:
        ask(server, tmp_path, ["a"])
        (file,) = tmp_path.rglob("*.json")
        whole = file.read_bytes()
        file.write_bytes(whole[:20])
        assert ask(server, tmp_path, ["a"])[0].value == "echo of a"
        assert file.read_bytes() == whole and len(server.bodies) == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"parameters": {"model": "x"}}, "parameters.model"),
        ({"num_parallel": 0}, "num_parallel is 0"),
        ({"timeout_sec": 0}, "timeout_sec is 0"),
        ({"base_url": "localhost:8000"}, "base_url is 'localhost:8000'"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EndpointConfig(**{"base_url": "http://localhost", **changed})


def test_a_chat_model_runs_in_one_place() -> None:
    with pytest.raises(UserError, match="one of the sections `endpoint` and `local`"):
        ChatConfig("tiny")


def test_closing_does_not_wait_for_what_is_under_way(tmp_path: Path) -> None:
    waits = {"timeout_sec": 30.0, "max_retries": 3, "num_parallel": 2}
    with chat_server(lambda body, _: echo(body) if body["messages"][0]["content"] == "0" else Wait(3.0)) as server:
        config = ChatConfig("tiny", EndpointConfig(server.base_url, **waits))
        replies = open_chat(config, tmp_path).model.complete([user(str(number)) for number in range(9)])
        assert next(replies) == (0, ChatText("echo of 0"))
        start = time.monotonic()
        replies.close()  # type: ignore[attr-defined]
        assert time.monotonic() - start < 2.0
        assert len(server.bodies) <= 4  # what waited for its turn was never sent


def test_of_two_that_ask_the_same_the_first_reply_stays(tmp_path: Path) -> None:
    """Two processes with one cache: what the other has kept while we asked is what we say too."""
    with chat_server(lambda body, _: echo(body)) as first:
        ask(first, tmp_path / "theirs", ["a"])

    def meanwhile(body: dict[str, Any], _: int) -> Say:
        shutil.copytree(tmp_path / "theirs", tmp_path / "ours")
        return Say("later")

    with chat_server(meanwhile) as second:
        assert [one.value for one in ask(second, tmp_path / "ours", ["a"])] == ["echo of a"]
    assert bytes_of(tmp_path / "ours") == bytes_of(tmp_path / "theirs")
