"""The speech decoder goes into the checkpoint that fine-tuning writes."""

from __future__ import annotations

import pytest

from cslm.decoder.decoder_config import DecoderCard, DecoderConfig
from cslm.decoder.speech_decoder import SpeechDecoder
from cslm.errors import UserError
from cslm.training import finetune, pretrain
from tests.worlds.tiny_world import FINGERPRINT, NUM_UNITS, make_world, pretrain_config, text_lm_config, write_config

SMALL = DecoderConfig(width=16, num_condition_blocks=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny world, its pre-trained model, and a decoder of its units and one of others."""
    root = make_world(tmp_path_factory.mktemp("world"))
    run(root, text_lm_config(root, max_steps=1), verb=pretrain)
    run(root, pretrain_config(root, max_steps=1), verb=pretrain)
    for name, fingerprint in (("decoder", FINGERPRINT), ("decoder_of_others", "sha256:" + "2" * 64)):
        card = DecoderCard(SMALL, fingerprint, (NUM_UNITS,), 25.0, ("en", "zh"))
        SpeechDecoder(card).save_pretrained(root / name)
    return root


def run(root, config, *arguments, verb=finetune):
    verb.main(["--config", str(write_config(root / "run.yaml", config)), *arguments])


def config_of(root, output, base="pretrain"):
    return pretrain_config(root, max_steps=1) | {"output": output, "model": {"base": base}, "tokenizer_card": None}


def test_the_decoder_goes_into_the_checkpoint_and_on_to_the_next(world):
    run(world, config_of(world, "first"), "--decoder", "decoder")
    run(world, config_of(world, "second", base="first"))
    for name in ("config.json", "model.safetensors"):
        given = (world / "decoder" / name).read_bytes()
        assert (world / "first" / "speech" / "decoder" / name).read_bytes() == given
        assert (world / "second" / "speech" / "decoder" / name).read_bytes() == given


def test_without_a_decoder_there_is_none(world):
    run(world, config_of(world, "silent"))
    assert (world / "silent" / "speech" / "card.yaml").is_file()
    assert not (world / "silent" / "speech" / "decoder").exists()


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        ("decoder_of_others", "the speech decoder .*decoder_of_others was made with another speech tokenizer"),
        ("nowhere", r"nowhere/config\.json: there is no speech decoder"),
    ],
)
def test_a_decoder_that_does_not_fit_is_refused_before_the_first_step(world, decoder, message):
    with pytest.raises(UserError, match=message):
        run(world, config_of(world, "refused"), "--decoder", decoder)
    assert not (world / "refused" / "metrics.jsonl").exists()


def test_a_model_of_text_has_nothing_to_decode(world):
    config = text_lm_config(world, max_steps=1) | {"output": "text", "model": {"base": "text_lm"}}
    del config["text_tokenizer"]
    with pytest.raises(UserError, match="decoder is decoder, and this model has no units to decode"):
        run(world, config, "--decoder", "decoder")
