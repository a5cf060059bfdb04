"""The pool of tasks over transcripts: what comes with the package, and pools of users."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from cslm.errors import UserError
from cslm.sequences.task_pool import NOTHING_ASKED, Prompt, pool_of, read_pool

LEAST = 8


def test_the_pool_of_the_package_has_what_training_and_benchmark_need():
    pool = read_pool()
    held_out = [name for name, task in pool.tasks.items() if task.held_out]
    assert {"continuation", "repetition", "summary", "question_answering", "rewriting", "translation", "intent"} == {
        name for name, task in pool.tasks.items() if not task.held_out
    }
    assert len(held_out) >= 3
    assert [name for name, task in pool.tasks.items() if task.transcribes] == ["repetition"]
    for task in pool.tasks.values():
        num_seen, num_unseen = task.num_wordings("en")
        assert num_seen >= LEAST
        assert num_unseen >= 3


def test_no_wording_stands_in_two_tasks():
    pool = read_pool()
    every = [wording for task in pool.tasks.values() for part in (task.seen, task.unseen) for wording in part["en"]]
    assert len(every) == len(set(every))


def test_the_words_around_a_text():
    pool = read_pool()
    first, *_, last = pool.prompts("continuation", "en")
    assert pool.asked(first, "en") == ("Continue this text in fewer than forty words: ", "")
    assert pool.asked(last, "en") == ("", "\nContinue from here, in a sentence or two.")
    plain = pool.asked(Prompt("summary", 2), "en")
    assert plain == ("Write a one-sentence summary of the text below.\n", "")
    assert NOTHING_ASKED.asked(Prompt("none", 0), "ja") == ("", "")


def test_a_translation_is_never_into_the_language_of_the_text():
    pool = read_pool()
    into = {prompt.target for prompt in pool.prompts("translation", "fr")}
    assert into == {"en", "zh", "de", "ja", "es"}
    asked = pool.asked(Prompt("translation", 0, "de"), "fr")
    assert asked == ("Translate this into German: ", "")


def test_unseen_wordings_are_numbered_behind_the_seen_ones():
    pool = read_pool()
    seen, unseen = pool.prompts("title", "en"), pool.prompts("title", "en", unseen=True)
    assert [prompt.wording for prompt in (*seen, *unseen)] == list(range(12))
    assert not any(pool.is_unseen(prompt, "en") for prompt in seen)
    assert all(pool.is_unseen(prompt, "en") for prompt in unseen)


def plain() -> dict[str, Any]:
    wordings = {"en": {"seen": ["Sum up:", "In short: {input}"], "unseen": ["Gist:"]}, "zh": {"seen": ["总结。"]}}
    return {"tasks": {"summary": {"wordings": wordings}}}


def test_a_pool_of_a_user(tmp_path: Path):
    path = tmp_path / "pool.yaml"
    path.write_text(yaml.safe_dump(plain(), allow_unicode=True), encoding="utf-8")
    pool = read_pool(str(path))
    assert pool.asked(Prompt("summary", 0), "zh_CN") == ("总结。\n", "")
    assert pool.asked(Prompt("summary", 0), "fr") == ("Sum up:\n", "")
    assert pool.digest == pool_of(plain(), "here").digest
    changed = plain()
    changed["tasks"]["summary"]["wordings"]["en"]["unseen"] = ["The gist:"]
    assert pool.digest != pool_of(changed, "here").digest
    with pytest.raises(UserError, match="no task 'title'; it has summary"):
        pool.check_tasks(["title"], "tasks")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda pool: pool.update(task={}), "one key, tasks"),
        (lambda pool: pool["tasks"].clear(), "one or more tasks"),
        (lambda pool: pool["tasks"].update(none=pool["tasks"]["summary"]), "none of which is called 'none'"),
        (lambda pool: pool["tasks"]["summary"].pop("wordings"), "the task summary has no wordings"),
        (lambda pool: pool["tasks"]["summary"].update(heldout=True), "the key 'heldout', which is not known"),
        (lambda pool: pool["tasks"]["summary"].update(held_out="yes"), "held_out 'yes': give true or false"),
        (lambda pool: pool["tasks"]["summary"]["wordings"]["en"].update(seen=[]), "no wording is seen"),
        (lambda pool: pool["tasks"]["summary"]["wordings"]["en"]["unseen"].append("Sum up:"), "'Sum up:' stands there"),
        (lambda pool: pool["tasks"]["summary"]["wordings"]["en"]["seen"].append("Of {inptu}:"), "has {inptu}: it may"),
        (lambda pool: pool["tasks"]["summary"]["wordings"]["en"]["seen"].append("Of {input"), "a brace too many"),
        (lambda pool: pool["tasks"]["summary"].update(targets={"fr": "French"}), "targets are two or more languages"),
        (
            lambda pool: pool["tasks"]["summary"].update(targets={"fr": "French", "de": "German"}),
            "does not say {target}, and the task has targets",
        ),
    ],
)
def test_what_is_no_pool_is_refused_by_name(change, told):
    values = copy.deepcopy(plain())
    change(values)
    with pytest.raises(UserError, match=told):
        pool_of(values, "pool.yaml")


def test_a_pool_that_is_not_there(tmp_path: Path):
    with pytest.raises(UserError, match="cannot be read"):
        read_pool(str(tmp_path / "none.yaml"))
