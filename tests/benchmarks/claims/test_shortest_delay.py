"""The floor of a compressed chain: that of the true chain, written as short as it may become."""

from __future__ import annotations

from cslm.benchmarks.claims.shortest_delay import shortest_delays

SETTINGS = """\
sources:
  questions:
    order: xs_cot_labels
    compression: {every: 0.5, all_from: %s, keep_groups: 1, group_size: 1}
"""


def dialogue(question, translation, thought):
    return {
        "question_language": "zh", "question_text": question, "core_language": "en", "core_question": translation,
        "core_answer": thought, "answer_language": "zh", "answer_text": "安娜是老师。",
    }  # fmt: skip


def test_the_floor_is_the_delay_of_a_chain_that_was_short_from_the_start(checkpoint, tmp_path):
    settings = tmp_path / "compressed.yaml"
    whole = dialogue("安娜的职业是什么？", "What is the job of Anna?", "Anna is a teacher.")
    short = dialogue("安...", "What...", "Anna...")
    settings.write_text(SETTINGS % 1)
    compressed = shortest_delays(checkpoint, settings, [whole, short])
    assert compressed[0] == compressed[1]
    settings.write_text(SETTINGS % 3)  # n never comes to 3 sentences, but to 2
    (partly,) = shortest_delays(
        checkpoint, settings, [dialogue("安娜的职业是什么？", "What is it?", "Anna is a teacher.")]
    )
    assert partly == shortest_delays(checkpoint, settings, [dialogue("安...", "What...", "Anna is a teacher.")])[0]
    assert partly > compressed[0]
