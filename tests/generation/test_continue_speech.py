"""A textless checkpoint opens everywhere, and goes on speaking by units alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from cslm import CSLMForCausalLM, cli
from cslm.audio.waveform import load_waveform, save_waveform
from cslm.codecs.families import load_codec
from cslm.codecs.units import Units, expand_repeats, merge_repeats
from cslm.decoder.decoder_config import DecoderCard, DecoderConfig
from cslm.decoder.speech_decoder import SpeechDecoder
from cslm.errors import UserError
from cslm.generation.decoding import DecodingConfig, ReplyRules, decode
from cslm.generation.grammar import UnitGrammar
from cslm.generation.token_choice import reply_generators
from cslm.model.checkpoint import save_checkpoint
from cslm.model.extension import end_documents_with, replace_text_rows
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.stories import spoken_document
from cslm.sequences.vocabulary import SpeechVocabulary, from_tokenizer, textless_tokenizer
from tests.worlds.architectures import random_model
from tests.worlds.mimi_models import RATE_HZ, save_mimi, write_card
from tests.worlds.small_corpus import glide
from tests.worlds.tiny_checkpoint import make_card

NUM_UNITS = 64
HOT = DecodingConfig(temperature=1.5)
FAMILIES = ("llama", "qwen2", "gpt2")
RECORDING = (glide(3, 1.0, RATE_HZ), RATE_HZ)
PLAIN = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
for folder in sys.argv[1:]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("<3><12> <7>", return_tensors="pt").input_ids
    torch.save(model(ids).logits.detach(), f"{folder}/logits.pt")
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)[0]
    print(ids[0].tolist(), int(written.max()) <= tokenizer.eos_token_id, tokenizer.decode(written[:3]), len(tokenizer))
assert "cslm" not in sys.modules
"""


@pytest.fixture(scope="module")
def mimi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Mimi, of which cards take some codebooks."""
    return save_mimi(tmp_path_factory.mktemp("mimi") / "model")


def checkpoint(folder: Path, card: Path, family: str = "llama", merge_repeats: bool = False, **changes: Any) -> Path:
    """A textless folder of random weights with a card."""
    codec = load_codec(card)
    tokenizer = textless_tokenizer(codec.codebook_sizes, merge_repeats)
    vocabulary = from_tokenizer(tokenizer)
    model = random_model(family, attention="eager", **changes)
    replace_text_rows(model, vocabulary, 60)
    end_documents_with(model, len(tokenizer) - 1)
    section = {**vocabulary.to_dict(), "fingerprint": codec.fingerprint, "vocabulary_size": vocabulary.size}
    save_checkpoint(model, tokenizer, folder, speech=section, card=card)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, mimi: Path) -> Path:
    """A textless llama of Mimi's first codebook."""
    root = tmp_path_factory.mktemp("textless")
    return checkpoint(root / "llama", write_card(mimi, root / "card", 1))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return CSLMForCausalLM.from_pretrained(folder).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_it_opens_with_and_without_this_package_and_gives_the_same_logits(
    mimi: Path, tmp_path: Path, family: str
) -> None:
    first = checkpoint(tmp_path / "first", write_card(mimi, tmp_path / "card", 1), family)
    model = CSLMForCausalLM.from_pretrained(first).eval()
    model.save_pretrained(tmp_path / "second")
    ids = torch.tensor([[3, 12, 7, NUM_UNITS]])
    for place in (first, tmp_path / "second"):
        plain = AutoModelForCausalLM.from_pretrained(place).eval()
        tokenizer = AutoTokenizer.from_pretrained(place)
        with torch.no_grad():
            assert torch.equal(plain(ids).logits, model(ids).logits)
        assert tokenizer("<3><12><7><|endoftext|>").input_ids == ids[0].tolist()
        assert tokenizer.decode(ids[0], skip_special_tokens=True) == "<3><12><7>"
        assert from_tokenizer(tokenizer) == SpeechVocabulary.without_text((NUM_UNITS,))
        assert json.loads((place / "config.json").read_text())["model_type"] == family
    again = CSLMForCausalLM.from_pretrained(tmp_path / "second")
    assert again.processor.fingerprint == model.processor.fingerprint != "unknown"
    assert (tmp_path / "second" / "speech" / "card.yaml").is_file()


def test_the_other_stack_gives_the_same_logits(mimi: Path, tmp_path: Path) -> None:
    python = os.environ.get("CSLM_OTHER_STACK_PYTHON")
    if python is None:
        pytest.skip("set CSLM_OTHER_STACK_PYTHON to the interpreter of the other stack")
    card = write_card(mimi, tmp_path / "card", 1)
    folders = [checkpoint(tmp_path / family, card, family) for family in FAMILIES]
    hidden = ("PYTHONPATH", "RANK", "WORLD_SIZE")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [python, "-c", PLAIN, *map(str, folders)], capture_output=True, text=True, check=True, env=environment,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.split("\n")[:3] == [f"[3, 12, 7] True <3><12><7> {NUM_UNITS + 1}"] * 3
    for place in folders:
        with torch.no_grad():
            logits = AutoModelForCausalLM.from_pretrained(place).eval()(torch.tensor([[3, 12, 7]])).logits
        torch.testing.assert_close(torch.load(place / "logits.pt"), logits, rtol=0, atol=2e-6)


def test_plain_transformers_generates_from_ids(folder: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model.get_output_embeddings().weight.data[NUM_UNITS + 1 :] *= 1000
    ids = tokenizer("<3><12><7>", return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=40, do_sample=True)[0]
    assert written[:3].tolist() == [3, 12, 7] and 3 < len(written) <= 43
    assert set(tokenizer.decode(written, skip_special_tokens=True)) <= set("<>0123456789")
    assert int(written.max()) <= NUM_UNITS, "a row that names nothing"


def test_the_processor_makes_inputs_of_a_recording(model: Any) -> None:
    inputs = model.processor(RECORDING)
    heard = load_codec(model.processor.card_path).encode([RECORDING[0]])[0]
    assert inputs["input_ids"][0].tolist() == heard.ids[:, 0].tolist()
    assert model.generate(**inputs, max_new_tokens=3).shape[1] <= len(heard) + 3


def test_speech_goes_on_for_the_seconds_that_are_asked_for(model: Any) -> None:
    said = model.continue_speech(RECORDING, 2.0, decoding=HOT, generator=torch.Generator().manual_seed(1))
    assert (said.prompt.num_frames_total, said.sample_rate_hz) == (13, RATE_HZ)
    assert said.is_whole == (len(said.units) < 25) and len(said.units) <= 25
    assert len(said.waveform) == len(said.units) * RATE_HZ / 12.5 and len(said.prompt_waveform) == 13 * RATE_HZ / 12.5
    whole = Units(np.concatenate([said.prompt.ids, said.units.ids]))
    sound = load_codec(model.processor.card_path).decode(whole)
    assert np.array_equal(np.concatenate([said.prompt_waveform, said.waveform]), sound)


def test_the_generator_says_what_is_drawn_and_a_batch_is_its_parts(model: Any) -> None:
    audios = [(glide(seed, 0.5 + 0.3 * seed, RATE_HZ), RATE_HZ) for seed in range(3)]
    runs = [
        model.continue_speech_batch(audios, 1.0, decoding=HOT, generator=torch.Generator().manual_seed(seed))
        for seed in (5, 5, 6)
    ]
    one, again, other = ([said.units.ids.tolist() for said in run] for run in runs)
    assert one == again != other
    first = model.continue_speech(audios[0], 1.0, decoding=HOT, generator=torch.Generator().manual_seed(5))
    assert first.units.ids.tolist() == one[0]


def test_merged_units_have_durations_and_are_cut_at_the_seconds(mimi: Path, tmp_path: Path) -> None:
    card = write_card(mimi, tmp_path / "card", 1)
    model = CSLMForCausalLM.from_pretrained(checkpoint(tmp_path / "merged", card, merge_repeats=True)).eval()
    slow = (np.repeat(glide(3, 0.4, RATE_HZ), 4), RATE_HZ)
    said = model.continue_speech(slow, 2.0, decoding=HOT)
    assert said.prompt.durations is not None and said.units.durations is not None
    assert said.units.num_frames_total <= 25 and (said.is_whole or said.units.num_frames_total == 25)
    ids = np.concatenate([said.prompt.ids, said.units.ids])[:, 0]
    assert (ids[1:] != ids[:-1]).all()
    assert len(said.waveform) == said.units.num_frames_total * RATE_HZ / 12.5


def test_the_checkpoints_own_decoder_speaks_where_there_is_one(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "speaks")
    fingerprint = json.loads((folder / "config.json").read_text())["speech"]["fingerprint"]
    config = DecoderConfig(
        width=16, num_blocks=1, condition_width=8, num_condition_blocks=1, flow_width=8, num_flow_blocks=1,
        duration_width=8, num_flow_steps=1, num_griffin_lim_iterations=1,
    )  # fmt: skip
    SpeechDecoder(DecoderCard(config, fingerprint, (NUM_UNITS,), 12.5, ("en", "fr"))).save_pretrained(
        tmp_path / "speaks" / "speech" / "decoder"
    )
    model = CSLMForCausalLM.from_pretrained(tmp_path / "speaks").eval()
    said = model.continue_speech(RECORDING, 2.0, "fr", HOT)
    assert said.sample_rate_hz == 22050
    assert len(said.waveform) == pytest.approx(len(said.units) / 12.5 * 22050, abs=2 * 22050 / 12.5)
    with pytest.raises(UserError, match="no voice for the language 'de'"):
        model.continue_speech(RECORDING, 2.0, "de")


def test_a_card_without_a_way_back_to_sound_is_told_before_anything_is_drawn(tmp_path: Path, monkeypatch: Any) -> None:
    model = CSLMForCausalLM.from_pretrained(checkpoint(tmp_path / "mute", make_card(tmp_path))).eval()
    monkeypatch.setattr("cslm.generation.speech_tasks.generate", lambda *_, **__: pytest.fail("drawn"))
    with pytest.raises(UserError, match="has no vocoder: train a decoder"):
        model.continue_speech(RECORDING, 1.0)
    with pytest.raises(UserError, match="has no speech decoder, which has voices"):
        model.continue_speech(RECORDING, 1.0, "en")
    monkeypatch.undo()
    said = model.continue_speech(RECORDING, 1.0, decoding=HOT, with_sound=False)
    assert len(said.units) <= 25 and said.waveform is None and said.sample_rate_hz is None


def test_what_does_not_fit_is_refused(model: Any, checkpoint_with_text: Any) -> None:
    for seconds in (0.0, 0.07, float("nan"), float("inf")):
        with pytest.raises(UserError, match="seconds is"):
            model.continue_speech(RECORDING, seconds)
    with pytest.raises(UserError, match=r"seconds 200 are 2,500 ids, and decoding\.max_new_tokens is 2,048"):
        model.continue_speech(RECORDING, 200)
    with pytest.raises(UserError, match="seconds 20 are 250 ids, and the recording 13: together more than the model's"):
        model.continue_speech(RECORDING, 20)
    with pytest.raises(UserError, match=r"nowhere\.wav"):
        model.continue_speech("nowhere.wav", 1.0)
    with pytest.raises(UserError, match="has text: ask it a question"):
        checkpoint_with_text.continue_speech(RECORDING, 1.0)
    for asked in (lambda: model.processor.prompt("tts", "en", text="hello"), lambda: model.respond(RECORDING, "en")):
        with pytest.raises(UserError, match="is textless"):
            asked()


@pytest.fixture
def checkpoint_with_text(request: pytest.FixtureRequest) -> Any:
    """The model of text and units of all tests of generation."""
    return CSLMForCausalLM.from_pretrained(request.getfixturevalue("checkpoint"))


def test_the_verb_writes_a_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_waveform(tmp_path / "in.wav", *RECORDING)
    places = [str(folder), str(tmp_path / "in.wav"), str(tmp_path / "out.wav")]
    options = ["--seconds", "1", "--with_prompt", "true", "--seed", "3", "--decoding.temperature", "1.5"]
    cli.dispatch(["continue-speech", *places, *options])
    printed = capsys.readouterr().out
    assert "out.wav: the model said " in printed
    waveform, rate_hz = load_waveform(tmp_path / "out.wav")
    assert rate_hz == RATE_HZ and 13 * RATE_HZ / 12.5 < len(waveform) <= 25 * RATE_HZ / 12.5


@pytest.mark.parametrize(("num_codebooks", "merge_repeats"), [(1, False), (1, True), (3, False)])
def test_a_thousand_random_continuations_never_break_the_grammar(num_codebooks: int, merge_repeats: bool) -> None:
    """Ids of a model whose weights are random, drawn hot: whole frames, each codebook in its turn, then the end."""
    vocabulary = SpeechVocabulary.without_text((10,) * num_codebooks, merge_repeats)
    assert vocabulary.end_of_document is not None
    model = random_model("llama", attention="eager", vocab_size=64).eval()
    model.get_output_embeddings().weight.data *= 30
    grammar = UnitGrammar(vocabulary, 64, "speech", nameless=range(vocabulary.size, 64))
    rules = ReplyRules(grammar, {vocabulary.end_of_document}, vocabulary.end_of_document)
    draw = np.random.default_rng(0)
    prompts = [vocabulary.unit_ids(draw.integers(10, size=(1 + i % 3, num_codebooks))) for i in range(1000)]
    decoding = DecodingConfig(max_new_tokens=12, temperature=2.0)
    written: list[list[int]] = [[] for _ in prompts]
    for step in decode(model, prompts, rules, decoding, reply_generators(torch.Generator().manual_seed(0), 1000)):
        for place, token_id in zip(step.prompts, step.ids, strict=True):
            written[place].append(token_id)
    ended = 0
    for prompt, ids in zip(prompts, written, strict=True):
        said = ids[:-1] if ids[-1] == vocabulary.end_of_document else ids
        ended += len(said) < len(ids)
        assert all(token_id // 10 == place % num_codebooks for place, token_id in enumerate(said))
        assert len(said) % num_codebooks == 0
        heard = [*prompt.tolist(), *said]
        assert not merge_repeats or all(a != b for a, b in zip(heard[len(prompt) - 1 :], said, strict=False))
    assert 0 < ended < 1000


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_what_training_writes_passes_the_grammar(seed: int, merge_repeats: bool) -> None:
    form = SequenceFormat(textless_tokenizer((4,), merge_repeats))
    draw = np.random.default_rng(seed)
    frames = [Units(draw.integers(4, size=(int(draw.integers(1, 6)), 1))) for _ in range(3)]
    stored = [merge_repeats_of(units) for units in frames]
    sequence = spoken_document(form, [(units, "en") for units in stored])
    together = Units(np.concatenate([units.ids for units in frames]))
    expected = merge_repeats_of(together).ids if merge_repeats else together.ids
    assert sequence.ids.tolist() == [*expected[:, 0].tolist(), 4], "as the joined recordings, and their end"
    assert sequence.trained.all()
    grammar = UnitGrammar(form.vocabulary, 64, "speech", nameless=range(5, 64))
    ids = torch.from_numpy(sequence.ids.astype("int64"))[None]
    for place in range(1, ids.shape[1]):
        assert grammar(ids[:, :place], torch.zeros(1, 64))[0, ids[0, place]] == 0


def merge_repeats_of(units: Units) -> Units:
    merged = merge_repeats(units)
    assert np.array_equal(expand_repeats(merged).ids, units.ids)
    return merged
