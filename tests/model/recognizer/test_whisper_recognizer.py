"""A Whisper in training: what it computes is what it is saved as, whatever shares its batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration

from cslm.model.recognizer.recognizer import RecognizerBatch
from cslm.model.recognizer.recognizer_config import WhisperSizesConfig
from cslm.model.recognizer.recognizer_stream import Lesson, RecognizerStream
from cslm.model.recognizer.whisper_recognizer import WhisperRecognizer

TEXTS = ["Anna eats bread.", "Bo", "Anna sees Bo and eats."]
SECONDS = [1.0, 0.4, 1.9]


class Recording:
    def __init__(self, waveform: np.ndarray) -> None:
        self.waveform, self.num_samples = waveform, len(waveform)

    def read(self) -> np.ndarray:
        return self.waveform


def recognizer(ctc_weight: float) -> WhisperRecognizer:
    sizes = WhisperSizesConfig(
        width=16, encoder_layers=1, decoder_layers=1, heads=2, inner=32, window_sec=2, positions=48, vocab_size=280,
        ctc_weight=ctc_weight,
    )  # fmt: skip
    torch.manual_seed(0)
    return WhisperRecognizer(sizes, TEXTS, ["en"]).eval()


def batch(one: WhisperRecognizer, chosen: list[int]) -> RecognizerBatch:
    generator = np.random.default_rng(3)
    waves = [generator.normal(0, 0.1, int(16000 * sec)).astype(np.float32) for sec in SECONDS]
    lessons = [Lesson(Recording(waves[i]), one.labels(TEXTS[i], "en"), 0) for i in chosen]
    return RecognizerStream(lessons, one, ["en"], 200, len(lessons), len(lessons), 0).step({}, 0, 1).micro_batches[0]


def test_a_recording_that_fills_its_window_is_heard_as_the_saved_model_hears_it(tmp_path):
    one = recognizer(ctc_weight=0.0)
    whole = batch(one, [2])
    whole.feature_lengths[:] = 200
    loss, _ = one.losses(whole)
    one.save(dict(one.state_dict()), tmp_path)
    saved, report = WhisperForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    labels = whole.labels[:, : whole.label_lengths[0]]
    read = torch.cat((labels.new_full((1, 1), saved.config.decoder_start_token_id), labels[:, :-1]), dim=1)
    logits = saved.eval()(whole.features.transpose(1, 2), decoder_input_ids=read).logits
    wanted = torch.nn.functional.cross_entropy(logits[0], labels[0], reduction="sum")
    torch.testing.assert_close(loss[0], wanted, rtol=1e-4, atol=1e-4)


def test_a_batch_is_computed_at_the_length_of_its_longest_recording():
    one = recognizer(ctc_weight=0.5)
    heard = one._heard(batch(one, [0, 1]))
    assert heard.shape == (2, 50, 16)


@pytest.mark.parametrize("ctc_weight", [0.0, 0.5])
def test_the_ctc_loss_is_a_share_and_its_head_is_not_kept(ctc_weight, tmp_path):
    one = recognizer(ctc_weight)
    together = batch(one, [0, 1, 2])
    losses, _ = one.losses(together)
    losses.sum().backward()
    first = one.model.model.encoder.conv1.weight.grad
    assert torch.isfinite(losses).all() and first.abs().sum() > 0
    one.save(dict(one.state_dict()), tmp_path)
    _, report = WhisperForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert ("ctc.weight" in one.state_dict()) == (ctc_weight > 0)


def test_ctc_is_by_character_of_what_is_said():
    """By hand: the loss of one recording is that of its lower-case characters, over their number, times its labels."""
    one = recognizer(ctc_weight=0.5)
    alone = batch(one, [0])
    heard = one._heard(alone)
    text = TEXTS[0].lower()
    spelt = torch.tensor([[one._characters[character] for character in text]])
    scores = one.ctc(heard).log_softmax(-1).transpose(0, 1)
    frames = torch.tensor([heard.shape[1]])
    by_hand = torch.nn.functional.ctc_loss(scores, spelt, frames, torch.tensor([len(text)]), reduction="sum")
    wanted = by_hand / len(text) * alone.label_lengths[0]
    torch.testing.assert_close(one._aligned(heard, alone)[0], wanted, rtol=1e-5, atol=1e-5)


def test_a_transcript_that_is_empty_has_no_ctc_loss():
    one = recognizer(ctc_weight=0.5)
    silent = batch(one, [0])
    silent.label_lengths[:] = 0
    losses, _ = one.losses(silent)
    losses.sum().backward()
    assert losses.tolist() == [0.0]
    assert all(p.grad is None or not p.grad.any() for p in one.parameters())
