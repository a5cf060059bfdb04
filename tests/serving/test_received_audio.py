"""Sound from clients: what is read, and that a header is not believed."""

from __future__ import annotations

import numpy as np
import pytest

from cslm.serving.limits import LimitsConfig
from cslm.serving.received_audio import read_base64, read_pcm16, read_wav
from cslm.serving.refusals import Refusal
from tests.worlds.bad_requests import Header, bad_wavs
from tests.worlds.served import base64_of, wav
from tests.worlds.tiny_checkpoint import tone

LIMITS = LimitsConfig(max_audio_sec=5.0)
SAMPLES = tone(0.1, 16000)


@pytest.mark.parametrize(("bits", "step"), [(8, 2**-7), (16, 2**-15), (24, 2**-23), (32, 2**-23)])
def test_whole_numbers_of_every_width(bits: int, step: float) -> None:
    whole = (SAMPLES.astype(np.float64) * (2 ** (bits - 1) - 1)).round().astype(np.int64)
    if bits == 8:
        data = (whole + 128).astype(np.uint8).tobytes()
    else:
        data = b"".join(int(one).to_bytes(bits // 8, "little", signed=True) for one in whole)
    read, rate = read_wav(Header(bits=bits).file(data), LIMITS, "x")
    assert rate == 16000 and read.dtype == np.float32
    np.testing.assert_allclose(read, SAMPLES, rtol=0, atol=1.01 * step)


def test_floats_and_two_channels() -> None:
    both = np.stack([SAMPLES, -0.5 * SAMPLES], axis=1).astype("<f4")
    read, _ = read_wav(Header(kind=3, bits=32, channels=2).file(both.tobytes()), LIMITS, "x")
    np.testing.assert_allclose(read, 0.25 * SAMPLES, atol=1e-7)
    loud, _ = read_wav(Header(kind=3, bits=32).file((SAMPLES * 10).astype("<f4").tobytes()), LIMITS, "x")
    assert np.abs(loud).max() == 1.0


def test_a_file_that_was_written_to_a_pipe_goes_to_its_end() -> None:
    data = wav(SAMPLES)[44:]
    read, _ = read_wav(Header(size=0xFFFFFFFF).file(data + b"\x01"), LIMITS, "x")
    assert len(read) == len(SAMPLES)


def test_other_chunks_are_passed_over() -> None:
    file = wav(SAMPLES)
    odd = b"LIST" + (3).to_bytes(4, "little") + b"abc\x00"
    read, _ = read_wav(file[:12] + odd + file[12:] + odd, LIMITS, "x")
    assert np.array_equal(read, read_wav(file, LIMITS, "x")[0])


def test_every_broken_file_is_refused_by_its_name() -> None:
    cases = [case for case in bad_wavs() if case[2] != "audio_not_usable"]  # too short for the tokenizer alone
    assert len(cases) > 150
    for data, status, code in cases:
        with pytest.raises(Refusal) as refused:
            read_wav(data, LIMITS, "x")
        assert (refused.value.status, refused.value.code) == (status, code), data[:60]


def test_pcm16_and_base64() -> None:
    data = (SAMPLES * 32767).astype("<i2").tobytes()
    np.testing.assert_allclose(read_pcm16(data, LIMITS, "x"), SAMPLES, atol=1e-4)
    assert read_base64(base64_of(data), len(data), "x") == data
    with pytest.raises(Refusal, match="more than 10 bytes"):
        read_base64(base64_of(data), 10, "x")
