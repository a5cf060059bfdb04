from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import FastSpeech2ConformerHifiGan, FastSpeech2ConformerHifiGanConfig

from cslm.codecs.units import Units
from cslm.configuration import load_configuration
from cslm.decoder.speech_decoder import GROUPS, VOCODER_GROUP, SpeechDecoder
from cslm.errors import UserError
from cslm.training.train_decoder import TrainDecoderConfig, main
from tests.training.processes import finish, start
from tests.worlds.tone_voices import FINGERPRINT, TINY, VOICES, make_corpus

SETTINGS = {
    "output": "decoder",
    "store": "units",
    "manifest": "manifest.jsonl",
    "voices": VOICES,
    "crop_frames": 16,
    "decoder": {name: value for name, value in vars(TINY).items() if value != getattr(type(TINY), name)},
    "training": {
        "max_steps": 4,
        "tokens_per_step": 64,
        "tokens_per_micro_batch": 32,
        "log_every": 1,
        "checkpoints": {"save_every": 2},
        "device": {"zero_stage": 0, "num_threads": 1},
    },
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A corpus, its YAML, and a decoder trained for four steps."""
    root = tmp_path_factory.mktemp("world")
    make_corpus(root)
    (root / "decoder.yaml").write_text(yaml.safe_dump(SETTINGS))
    run(root)
    return root


def run(root, *more):
    main(["--config", str(root / "decoder.yaml"), "--data_root", str(root), *more])


def curve(output):
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"], row["grad_norm"], row["lr"], row["tokens"]) for row in rows]


def assert_same_weights(one, other, tolerance=1e-6):
    found, wanted = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], atol=tolerance, rtol=0, msg=name)


def test_it_leaves_a_decoder(world):
    output = world / "decoder"
    decoder = SpeechDecoder.from_pretrained(output, FINGERPRINT)
    assert decoder.voices == ("en", "zh") and decoder.mel_mean.abs().sum() > 0
    row = json.loads((output / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(row["groups"]) == set(GROUPS) and row["consumed"] == {"decoder": 4 * 4 * 16}
    assert load_configuration(TrainDecoderConfig, output / "config.yaml").crop_frames == 16
    assert not (output / ".mels").exists()


def test_a_vocoder_is_trained_with_the_rest(world):
    run(world, "--output", "harmonic", "--decoder.vocoder", "harmonic", "--decoder.vocoder_width", "16")
    decoder = SpeechDecoder.from_pretrained(world / "harmonic", FINGERPRINT)
    row = json.loads((world / "harmonic" / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(row["groups"]) == {*GROUPS, VOCODER_GROUP} and decoder.vocoder.gains.weight.abs().sum() > 0
    assert len(decoder.decode(Units(np.array([[1], [2]]), np.array([3, 4])), "en")) == 7 * 882


def test_the_vocoder_that_others_trained_goes_into_the_decoder(world):
    torch.manual_seed(1)
    model = FastSpeech2ConformerHifiGan(
        FastSpeech2ConformerHifiGanConfig(
            upsample_initial_channel=8, upsample_rates=[16, 16], upsample_kernel_sizes=[16, 18],
            resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]],
        )
    )  # fmt: skip
    model.save_pretrained(world / "hifigan")
    given = ("--output", "with_hifigan", "--decoder.vocoder", "hifigan", "--decoder.vocoder_model")
    run(world, *given, "hifigan", "--training.max_steps", "1")
    decoder = SpeechDecoder.from_pretrained(world / "with_hifigan")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(decoder.vocoder.model.state_dict()[name], value, rtol=0, atol=0)
    assert "hifigan/" not in (world / "with_hifigan" / "config.json").read_text()
    assert decoder.card.decoder.vocoder_model is None
    with pytest.raises(UserError, match=r"decoder.vocoder_model: nothing cannot be read|no folder nothing"):
        run(world, *given, "nothing", "--output", "without")
    with pytest.raises(UserError, match="decoder.vocoder is hifigan and decoder.vocoder_model None"):
        run(world, "--output", "without", "--decoder.vocoder", "hifigan")


def test_a_finished_run_says_so(world, capsys):
    before = (world / "decoder" / "model.safetensors").stat().st_mtime_ns
    run(world)
    assert "already finished" in capsys.readouterr().out
    assert (world / "decoder" / "model.safetensors").stat().st_mtime_ns == before


def test_a_resumed_run_is_the_same(world):
    """The schedule spans max_tokens, so that max_steps only says where to stop."""
    for output, stops in (("whole", ("4",)), ("halves", ("2", "4"))):
        for stop in stops:
            run(world, "--output", output, "--training.max_tokens", "256", "--training.max_steps", stop)
    assert len(curve(world / "halves")) == 4
    for one, other in zip(curve(world / "halves"), curve(world / "whole"), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert_same_weights(world / "halves", world / "whole")


def test_two_processes_learn_the_same(world):
    command = ["recipes/train_decoder.py", "--config", str(world / "decoder.yaml"), "--data_root", str(world)]
    finish(start(2, *command, "--output", "two"))
    for one, other in zip(curve(world / "two"), curve(world / "decoder"), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert_same_weights(world / "two", world / "decoder", tolerance=1e-4)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--voices", '{"en": ["nobody"]}'], "voices.en is"),
        (["--voices", "{fr: null}"], r"voices names the language fr, and .* has en.*: .* --voices '{en: null}'"),
        (["--store", "nowhere"], "nowhere"),
        (["--manifest", "nowhere.jsonl"], r"nowhere\.jsonl"),
        (["--decoder.hop_length", "300"], "hop_length"),
        (["--training.device.precision", "bf16"], "fp32"),
        (["--training.device.compile", "true"], "for language models"),
        (["--training.data.alternate", "language"], "alternate is for language models"),
        (["--crop_frames", "0"], "crop_frames"),
        (["--voices", "{}"], "voices is empty"),
        (["--no_such_key", "1"], "no_such_key"),
    ],
)
def test_bad_input_is_named(world, more, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run(world, "--output", str(tmp_path / "bad"), *more)
    assert not (tmp_path / "bad").exists() or list((tmp_path / "bad").iterdir()) == []


def test_a_folder_of_another_run_is_refused(world):
    with pytest.raises(UserError, match="holds another run: training.seed"):
        run(world, "--training.seed", "5", "--training.max_steps", "9")
