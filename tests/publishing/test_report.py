"""The report is one page that needs nothing else, and leaves out what a run does not have."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cslm.audio.waveform import save_waveform
from cslm.errors import UserError
from cslm.evaluation.dialogue_score import dialogue_scores
from cslm.publishing.report import main
from cslm.publishing.svg_chart import line_chart, thinned
from tests.evaluation.test_dialogue_score import REPLIES
from tests.worlds.tiny_checkpoint import tone

RESULTS = {
    "scores": {
        "asr": {"test": {"en": {"wer": 0.021, "wer_interval": [0.01, 0.03], "n": 150}}},
        "tts": {"zh": {"cer": 0.01, "n": 100, "unit_error_rate": 0.2, "mel_cepstral_distortion_db": 5.5}},
        "dialogue": dialogue_scores(REPLIES),
    },
    "cores": 2,
    "seed": 0,
}
REPLY = {
    "question": "What does Anna <do>?",
    "question_language": "en",
    "answer": "安娜是面包师，大家都知道。",
    "answer_language": "zh",
    "question_units": [3, 1],
    "segments": [{"text": "安娜是面包师，", "units": [4, 7]}, {"text": "大家都知道。", "units": [9]}],
}


SHOWN = [
    *(
        "Dorf &amp; Stimme",
        "2.1 %",
        "test, en (WER)",
        "1.0–3.0",
        "5.50 dB",
        "75.0 %",
        "4 chunks",
        "3.00 ×",
        "120 / 40, n 1",
    ),
    *("Loss: pretrain", "asr, text", "7 minutes in all", "What does Anna &lt;do&gt;?"),
]


class Tags(HTMLParser):
    """Open tags that were never closed, and attributes that point elsewhere."""

    VOID = frozenset({"meta", "br", "wbr", "line", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, tag


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "results.json").write_text(json.dumps(RESULTS), encoding="utf-8")
    (tmp_path / ".stages").mkdir()
    (tmp_path / ".stages" / "pretrain.json").write_text('{"seconds": 420.0}')
    (tmp_path / "pretrain").mkdir()
    rows = [{"step": i, "tokens": 2000 * i, "loss": 5 / i, "groups": {"asr/text/en": 5 / i, "asr/text/zh": 4 / i}}
            for i in range(1, 300)]  # fmt: skip
    (tmp_path / "pretrain" / "metrics.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "en-zh.json").write_text(json.dumps(REPLY), encoding="utf-8")
    for part in ("question", "answer"):
        save_waveform(tmp_path / "answers" / f"en-zh.{part}.wav", tone(0.1, 22050), 22050)
    return tmp_path


def test_the_page_stands_alone(run: Path) -> None:
    main([str(run)])
    page = (run / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert len(tags.links) == 2 and all(link.startswith("data:audio/wav;base64,UklGR") for link in tags.links)
    assert "@import" not in page and "url(" not in page and "<script" not in page


def test_the_page_shows_scores_losses_and_a_sequence(run: Path) -> None:
    main([str(run), "--title", "Dorf & Stimme"])
    page = (run / "report.html").read_text(encoding="utf-8")
    for text in SHOWN:
        assert text in page, text
    plain = re.sub(r"<[^>]+>", "", page.split("One dialogue")[1].split("</section>")[0])
    assert (
        "[question]: What does Anna &lt;do&gt;?; [answer]: 安娜是面包师，&lt;sosp&gt;&lt;4&gt;&lt;7&gt;&lt;eosp&gt;大家"
        in plain
    )
    assert "用中文回答用户语音中的问题。 这是输入: &lt;sosp&gt;&lt;3&gt;&lt;1&gt;&lt;eosp&gt;。" in plain


def test_what_a_run_does_not_have_is_left_out(tmp_path: Path) -> None:
    digits = {"known_speakers": {"en": {"wer": 0.05, "n": 100}}, "unseen_speakers": {"en": {"wer": 0.2, "n": 100}}}
    (tmp_path / "results.json").write_text(json.dumps({"scores": {"asr": digits}}))
    main([str(tmp_path), "--output", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "unseen_speakers, en (WER)" in page and "Speaking" not in page and "<audio" not in page


LINE = {
    "heard_sec": 0.02,
    "before_answer_sec": [0.1, 0.2],
    "chunks": [{"text_sec": [0.3], "units_sec": [0.5]}, {"text_sec": [0.6], "units_sec": [0.9]}],
    "sounds": [[0.55, 0.4], [1.25, 0.5]],
    "end_sec": 1.3,
    "num_ids": 60,
}


def test_a_streamed_reply_is_drawn_moment_by_moment(run: Path) -> None:
    (run / "answers" / "en-en.time_line.json").write_text(json.dumps({**LINE, "chunks": LINE["chunks"][:1]}))
    (run / "answers" / "en-zh.time_line.json").write_text(json.dumps(LINE))
    main([str(run)])
    page = (run / "report.html").read_text(encoding="utf-8")
    section = page.split("A streamed reply, moment by moment: ")[1].split("</section>")[0]
    assert section.startswith("en-zh")  # it has more chunks
    assert "60 ids in 1.30 s. The first sound comes after 0.55 s; 0.90 s are spoken" in section
    assert "waits 1 times, 0.30 s in all" in section
    rows = re.findall(r'text-anchor="end">([^<]+)</text>', section)
    assert rows == ["before the answer", "chunk 1", "chunk 2", "sound comes", "sound is heard"]
    titles = re.findall(r"<title>([^<]+)</title>", section)
    assert titles[:3] == ["text before the answer: 0.02 to 0.20 s", "text of a chunk: 0.20 to 0.30 s",
                          "its units: 0.30 to 0.50 s"]  # fmt: skip
    assert titles[-2:] == ["heard: 0.55 to 0.95 s", "heard: 1.25 to 1.75 s"]
    edges = [float(x) for x in re.findall(r'<rect class="sound" x="([0-9.]+)"', section)]
    assert edges[0] == edges[2] < edges[1] == edges[3]


def test_a_time_line_without_sound_and_one_that_is_none(run: Path) -> None:
    silent = {**LINE, "sounds": []}
    (run / "answers" / "en-zh.time_line.json").write_text(json.dumps(silent))
    main([str(run)])
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "60 ids in 1.30 s, without sound." in page and "sound is heard" not in page
    (run / "answers" / "en-zh.time_line.json").write_text('{"end_sec": 1.0}')
    with pytest.raises(UserError, match=r"en-zh\.time_line\.json holds no time line"):
        main([str(run)])


def test_a_run_without_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"results\.json"):
        main([str(tmp_path)])
    (tmp_path / "results.json").write_text(json.dumps({"asr": {"en": {"wer": 0.1, "n": 4}}, "seed": 0}))
    with pytest.raises(UserError, match=r"results\.json holds no `scores`: an older version wrote it.*run score again"):
        main([str(tmp_path)])
    (tmp_path / "results.json").write_text("[1")
    with pytest.raises(UserError, match="not JSON"):
        main([str(tmp_path)])


def test_charts_thin_long_lines_and_survive_short_ones() -> None:
    assert thinned([(i, float(i)) for i in range(10)], most=4) == [(2, 1.0), (5, 4.0), (8, 7.0), (9, 9.0)]
    assert "polyline" in line_chart({"a <b>": [(1.0, 2.0)]}, "x", "y") and "a &lt;b&gt;" in line_chart(
        {"a <b>": [(1.0, 2.0)]}, "x", "y"
    )
    assert line_chart({"none": [(1.0, 0.0)]}, "x", "y") == "<p>nothing was logged</p>"
