"""The page's arithmetic on sound, run in the browser: resampling, PCM, files."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")

from tests.worlds.browser import Visit, launched, visited
from tests.worlds.scripted_server import Script, tones

RESAMPLE = """async ([from, to, numbers, sizes]) => {
  const { Resampler } = await import("./resampler.js");
  const resampler = new Resampler(from, to);
  const made = [];
  let place = 0;
  while (place < numbers.length) {
    const size = sizes[made.length % sizes.length];
    made.push(...resampler.push(Float32Array.from(numbers.slice(place, place + size))));
    place += size;
  }
  return [...made, ...resampler.flush()];
}"""


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    with (
        launched(tones(300), tmp_path_factory.mktemp("microphone")) as browser,
        visited(browser, Script()) as visit,
    ):
        yield visit


def sine(rate_hz: int, hz: float, num_samples: int) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(num_samples) / rate_hz)


@pytest.mark.parametrize("rate_hz", [48_000, 44_100, 16_000, 24_000])
def test_a_tone_stays_the_tone(visit: Visit, rate_hz: int) -> None:
    tone = sine(rate_hz, 1000, rate_hz // 10).tolist()
    made = np.array(visit.page.evaluate(RESAMPLE, [rate_hz, 24_000, tone, [999999]]))
    assert len(made) == 2400
    assert np.abs(made - sine(24_000, 1000, 2400))[200:-200].max() < 1e-3


def test_what_24_khz_cannot_hold_is_cut_off(visit: Visit) -> None:
    made = np.array(visit.page.evaluate(RESAMPLE, [48_000, 24_000, sine(48_000, 14_000, 4800).tolist(), [999999]]))
    assert np.abs(made)[200:-200].max() < 1e-3


def test_pieces_make_no_difference(visit: Visit) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 3000).tolist()
    whole = visit.page.evaluate(RESAMPLE, [44_100, 24_000, noise, [999999]])
    assert visit.page.evaluate(RESAMPLE, [44_100, 24_000, noise, [1, 128, 7, 500]]) == whole
    assert len(whole) == -(-3000 * 24_000 // 44_100)


def test_pcm_and_base64(visit: Visit) -> None:
    pcm = visit.page.evaluate(
        """async () => { const { toPcm16, toBase64, fromBase64 } = await import("./pcm.js");
        const text = toBase64(toPcm16(Float32Array.from([0, 0.5, -1, 1, 2, -2])));
        return [text, [...fromBase64(text)]]; }"""
    )
    expected = np.array([0, 16384, -32768, 32767, 32767, -32768], "<i2")
    assert pcm == [base64.b64encode(expected.tobytes()).decode(), expected.tolist()]


TWO = """async () => {
  const { Player } = await import("./player.js");
  const told = [];
  const player = new Player((report) => told.push(report));
  await player.open();
  const silence = () => new Int16Array(48000);
  player.begin("old");
  player.push("old", silence());
  while (told.length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  player.begin("new");
  const ended = told.at(-1);
  player.push("new", silence());
  const never = new Promise((resolve) => setTimeout(resolve, 20000, []));
  const stops = await Promise.race([Promise.all([player.stop(), player.stop()]), never]);
  return [[ended.id, ended.over, ended.stopped], stops.map((report) => report.id), player.isPlaying];
}"""


def test_an_utterance_that_was_replaced_played_for_ever_and_the_first_of_two_stops_was_never_over(visit: Visit) -> None:
    assert visit.page.evaluate(TWO) == [["old", True, True], ["new", "new"], False]


def test_waiting_for_the_server_has_an_end(visit: Visit) -> None:
    waits = visit.page.evaluate(
        """async () => { const { waitSec } = await import("./connection.js");
        return Array.from({ length: 8 }, (_, index) => waitSec(index)); }"""
    )
    assert waits == [0.5, 1, 2, 4, 8, 15, 15, 15]
