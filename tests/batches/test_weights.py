from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cslm.batches.source_config import SourceConfig
from cslm.batches.weights import Caps, CapsConfig, WeightSchedule, is_never_drawn, mean_shares, stage_starts
from cslm.configuration import parse_configuration
from cslm.errors import UserError
from tests.worlds.small_world import open_stream


def test_shapes_by_eye():
    linear = WeightSchedule([1.0, 0.0])
    assert [linear.value(progress) for progress in (0, 0.25, 1)] == [1.0, 0.75, 0.0]
    cosine = WeightSchedule([1.0, 0.0], shape="cosine")
    assert [cosine.value(progress) for progress in (0, 0.5, 1)] == [1.0, 0.5, 0.0] and cosine.value(0.1) > 0.95
    steps = WeightSchedule([3.0, 2.0, 1.0], shape="steps")
    assert [steps.value(progress) for progress in (0, 0.33, 0.34, 0.67, 1)] == [3.0, 3.0, 2.0, 1.0, 1.0]
    late = WeightSchedule([1.0, 5.0], at=[0.5, 0.75])
    assert [late.value(progress) for progress in (0, 0.5, 0.625, 0.75, 1)] == [1.0, 1.0, 3.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("given_values", "said"),
    [
        ({"values": [1.0]}, "give two or more"),
        ({"values": [1.0, 2.0], "shape": "square"}, "shape 'square'"),
        ({"values": [1.0, 2.0], "at": [0.5]}, "give 2 rising shares"),
        ({"values": [1.0, 2.0], "at": [0.5, 0.5]}, "give 2 rising shares"),
        ({"values": [1.0, 2.0], "at": [0.5, 1.5]}, "give 2 rising shares"),
    ],
)
def test_what_is_no_schedule_is_named(given_values, said):
    with pytest.raises(UserError, match=said):
        WeightSchedule(**given_values)


def test_a_schedule_of_zeros_is_never_drawn():
    assert is_never_drawn(0) and is_never_drawn(WeightSchedule([0.0, 0.0]))
    assert not is_never_drawn(WeightSchedule([0.0, 1.0]))


def test_caps_by_eye():
    tasks, languages = ["asr", "tts", "text"], [{"zh": 1.0}, {"zh": 0.5, "en": 0.5}, {"en": 1.0}]
    shares = np.array([0.5, 0.3, 0.2])
    assert Caps(CapsConfig(), tasks, languages).apply(shares).tolist() == [0.5, 0.3, 0.2]
    by_task = Caps(CapsConfig(tasks={"asr": 0.25}), tasks, languages).apply(shares)
    assert by_task == pytest.approx([0.25, 0.45, 0.30])
    by_language = Caps(CapsConfig(languages={"zh": 0.4}), tasks, languages).apply(shares)
    assert by_language[0] + 0.5 * by_language[1] == pytest.approx(0.4) and by_language.sum() == pytest.approx(1)


@given(
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    st.floats(0.3, 1),
    st.floats(0.4, 1),
)
def test_every_cap_is_kept(weights, task_cap, language_cap):
    shares = np.array(weights) / sum(weights)
    config = CapsConfig(tasks={"asr": task_cap}, languages={"zh": language_cap})
    caps = Caps(config, ["asr", "tts", "text"], [{"zh": 0.5, "en": 0.5}, {"zh": 1.0}, {"en": 1.0}])
    found = caps.apply(shares)
    assert found.sum() == pytest.approx(1) and (found > 0).all()
    assert found[0] <= task_cap + 1e-6 and 0.5 * found[0] + found[1] <= language_cap + 1e-6


def test_caps_that_cannot_be_kept_are_named():
    caps = Caps(CapsConfig(languages={"zh": 0.1}), ["asr", "tts"], [{"zh": 1.0}, {"zh": 0.5, "en": 0.5}])
    with pytest.raises(UserError, match="the language zh is still 5.% of the tokens where 10% is the cap"):
        caps.apply(np.array([0.5, 0.5]))
    with pytest.raises(UserError, match="caps.tasks names 'mt'; the sources have asr, tts"):
        Caps(CapsConfig(tasks={"mt": 0.5}), ["asr", "tts"], [{}, {}])
    with pytest.raises(UserError, match="caps: that of zh is 1.5"):
        CapsConfig(languages={"zh": 1.5})


def test_consumed_tokens_follow_the_caps(world, form):
    lengths = {"tokens_per_step": 3000, "tokens_per_micro_batch": 600, "max_length": 500, "seed": 3}
    configs = {name: world[name] for name in ("asr", "tts", "translation", "text")}
    stream = open_stream(configs, form, caps=CapsConfig(tasks={"asr": 0.2, "tts": 0.1}), **lengths)
    position, consumed = {}, dict.fromkeys(configs, 0)
    for _ in range(60):
        batch = stream.step(position)
        position = batch.position
        for name, tokens in batch.consumed.items():
            consumed[name] += tokens
    total = sum(consumed.values())
    assert consumed["asr"] / total == pytest.approx(0.2, abs=0.02)
    assert consumed["tts"] / total == pytest.approx(0.1, abs=0.02)
    assert consumed["translation"] == pytest.approx(consumed["text"], rel=0.1)  # both have the weight 1


def test_a_cap_on_another_tag_of_a_language_was_on_what_no_source_has():
    tasks, languages = ["asr", "text"], [{"zh": 1.0}, {"en": 1.0}]
    capped = Caps(CapsConfig(languages={"zh_CN": 0.4}), tasks, languages).apply(np.array([0.5, 0.5]))
    assert capped == pytest.approx([0.4, 0.6])
    with pytest.raises(UserError, match="caps.languages names one language twice: zh, zh_CN"):
        Caps(CapsConfig(languages={"zh": 0.4, "zh_CN": 0.5}), tasks, languages)
    with pytest.raises(UserError, match="'chinese' is"):
        Caps(CapsConfig(languages={"chinese": 0.4}), tasks, languages)


def test_stages_begin_where_a_weight_takes_a_step():
    stepping = WeightSchedule([1.0, 0.0, 0.5], [0.0, 0.6, 0.76], "steps")
    assert stage_starts([1.0, WeightSchedule([1.0, 0.0])]) == [0.0]
    assert stage_starts([stepping, WeightSchedule([0.0, 1.0], [0.0, 0.6], "steps"), 2.0]) == [0.0, 0.6, 0.76]


def test_shares_of_a_stage_and_of_the_whole_are_exact_where_weights_take_steps():
    weights = [
        WeightSchedule([1.0, 0.0, 1.0], [0.0, 0.6, 0.76], "steps"),
        WeightSchedule([0.0, 1.0, 1.0], [0.0, 0.6, 0.76], "steps"),
    ]
    assert mean_shares(weights).tolist() == pytest.approx([0.6 + 0.12, 0.16 + 0.12], abs=1e-12)
    assert mean_shares(weights, None, 0.6, 0.76).tolist() == pytest.approx([0.0, 1.0])
    assert mean_shares(weights, None, 0.5, 0.7).tolist() == pytest.approx([0.5, 0.5])
    assert mean_shares([1.0, 3.0], None, 0.2, 0.3).tolist() == [0.25, 0.75]


@dataclass
class _Run:
    """As a run names its sources."""

    sources: dict[str, SourceConfig]
    """by name"""


@pytest.mark.parametrize("schedule", ["{values: [1, 0, 1], at: [0, 0.7, 0.5]}", "{values: [1, 0], shape: round}"])
def test_a_schedule_that_is_none_was_a_traceback_on_the_command_line(schedule):
    with pytest.raises(UserError, match="^a weight has "):
        parse_configuration(_Run, ["--sources", f"{{a: {{task: text, weight: {schedule}}}}}"], "run")
    (source,) = parse_configuration(_Run, ["--sources", "{a: {task: text, weight: 2}}"], "run").sources.values()
    assert source.weight == 2.0
