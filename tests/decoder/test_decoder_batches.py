from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cslm.decoder.decoder_batches import DecoderStream
from cslm.decoder.speech_decoder import GROUPS, SpeechDecoder
from cslm.decoder.time_grid import TimeGrid
from tests.worlds.equal_batches import equal
from tests.worlds.tone_voices import CARD, TINY, open_data

GRID = TimeGrid(25.0, 22050, 256)


@pytest.fixture
def stream(tone_data):
    return DecoderStream(tone_data, GRID, crop_frames=48, crops_per_step=6, crops_per_micro=2, seed=3)


def test_a_step_is_a_function_of_its_position(stream, tone_data):
    first = stream.step({}, 0, 1)
    second = stream.step(first.position, 0, 1)
    fresh = DecoderStream(tone_data, GRID, crop_frames=48, crops_per_step=6, crops_per_micro=2, seed=3)
    again = fresh.step(first.position, 0, 1)
    assert all(equal(a, b) for a, b in zip(second.micro_batches, again.micro_batches, strict=True))
    assert not equal(first.micro_batches[0], second.micro_batches[0])
    assert (first.counts, first.consumed) == ({"mel_frames": 6 * 48}, {"decoder": 6 * 48})


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_processes_share_one_global_batch(stream, world_size):
    whole = stream.step({}, 0, 1)
    shares = [stream.step({}, rank, world_size) for rank in range(world_size)]
    assert len({len(share.micro_batches) for share in shares}) == 1
    assert all(share.counts == whole.counts for share in shares)
    frames = [batch.counts()["mel_frames"] for share in shares for batch in share.micro_batches]
    assert sum(frames) == whole.counts["mel_frames"]
    together = [batch for share in shares for batch in share.micro_batches if batch.num_mel_frames.sum()]
    assert len(together) == len(whole.micro_batches)
    assert all(any(equal(batch, other) for other in together) for batch in whole.micro_batches)


@pytest.fixture(scope="module")
def sounding_data(tones, tmp_path_factory):
    """With waveforms, as a vocoder that learns needs them."""
    return open_data(tones, tmp_path_factory.mktemp("sounding"), replace(TINY, vocoder="harmonic"))


@pytest.mark.parametrize(("every", "sounding"), [(1, [0, 1, 2, 3, 4, 5]), (3, [0, 3]), (100, [0])])
def test_a_vocoder_learns_from_one_window_of_so_many(sounding_data, every, sounding):
    step = DecoderStream(sounding_data, GRID, 48, 6, 6, 3, every).step({}, 0, 1)
    (batch,) = step.micro_batches
    assert batch.sounding.tolist() == sounding and batch.counts() == step.counts
    assert step.counts == {"mel_frames": 6 * 48, "sound_frames": len(sounding) * 48}
    whole = DecoderStream(sounding_data, GRID, 48, 6, 6, 3, 1).step({}, 0, 1).micro_batches[0]
    assert torch.equal(batch.waveform, whole.waveform[sounding]) and batch.waveform.abs().sum() > 0
    assert torch.equal(batch.source, whole.source[sounding])
    decoder = SpeechDecoder(replace(CARD, decoder=replace(TINY, vocoder="harmonic")))
    report = decoder(batch).report
    assert report.counts.tolist()[-1] == len(sounding) * 48


def test_what_a_vocoder_learns_does_not_depend_on_how_windows_are_shared_out(sounding_data):
    torch.manual_seed(0)
    decoder = SpeechDecoder(replace(CARD, decoder=replace(TINY, vocoder="harmonic")))
    sums = []
    for per_micro, ranks in ((6, 1), (2, 1), (1, 4)):
        stream = DecoderStream(sounding_data, GRID, 48, 6, per_micro, 3, 3)
        parts = [part for rank in range(ranks) for part in stream.step({}, rank, ranks).micro_batches]
        assert sum(part.counts()["sound_frames"] for part in parts) == 2 * 48
        with torch.no_grad():
            sums.append(sum(float(decoder(part).terms["vocoder"].sum) for part in parts))
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-4)


def test_every_utterance_once_an_epoch(stream):
    num = len(stream.data.rows)
    for epoch in range(2):
        assert sorted(stream.crop(epoch * num + i).utterance for i in range(num)) == list(range(num))


def test_a_crop_holds_what_the_file_holds(stream):
    batch = stream.step({}, 0, 1).micro_batches[0]
    for i in range(2):
        crop = stream.crop(i)
        length, num_rows = crop.num_mel_frames, int(batch.num_units[i])
        mel = stream.data.mels.read(crop.utterance, crop.first_mel_frame, length)
        np.testing.assert_array_equal(batch.mel[i, :length], mel)
        assert batch.num_mel_frames[i] == length == 48
        units = stream.data.store.row(int(stream.data.rows[crop.utterance])).units
        # the unit that lasts at the centre of each spectrogram frame, found from the unit frames
        unit_frames = ((crop.first_mel_frame + np.arange(length)) * 256 / 22050 * 25).astype(int)
        expected = np.repeat(units.ids[:, 0], units.durations)[unit_frames.clip(max=units.durations.sum() - 1)]
        places = batch.positions[i, :length].int().clip(max=num_rows - 1)
        np.testing.assert_array_equal(batch.units[i, places, 0], expected)


def test_a_unit_that_the_border_cuts_keeps_its_duration(stream):
    batch = stream.step({}, 0, 1).micro_batches[0]
    for i in range(2):
        rows = batch.units[i, : batch.num_units[i], 0]
        np.testing.assert_array_equal(batch.durations[i, : len(rows)], rows + 1)  # unit u lasts 1 + u frames


def test_the_loss_is_a_sum_over_crops(stream):
    torch.manual_seed(0)
    decoder = SpeechDecoder(CARD)
    one = [decoder(batch) for batch in stream.step({}, 0, 1).micro_batches]
    stream.crops_per_micro = 6
    whole = decoder(stream.step({}, 0, 1).micro_batches[0])
    torch.testing.assert_close(sum(output.weighted_sum for output in one), whole.weighted_sum)
    torch.testing.assert_close(sum(output.report.sums for output in one), whole.report.sums)
    assert whole.report.sums.shape == (len(GROUPS),) and (whole.report.counts > 0).all()


def test_nothing_to_learn_still_runs_backward(stream):
    decoder = SpeechDecoder(CARD)
    batch = stream.step({}, 3, 4).micro_batches[0]
    output = decoder(batch)
    output.weighted_sum.backward()
    assert batch.counts() == {"mel_frames": 0} and output.weighted_sum.item() == 0
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in decoder.parameters())
