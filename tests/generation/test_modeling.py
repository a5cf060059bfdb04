"""``CSLMForCausalLM`` is a model of transformers like any other, and answers."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from cslm import CSLMForCausalLM
from cslm.audio.waveform import save_waveform
from cslm.errors import UserError
from cslm.generation.decoding import DecodingConfig, Generated
from cslm.model import local_folder
from cslm.sequences.text_tokenizer import train_text_tokenizer
from tests.worlds.tiny_checkpoint import NUM_UNITS, SENTENCES, make_checkpoint, tone

SHORT = DecodingConfig(max_new_tokens=40)
IDS = torch.tensor([[5, 6, 7, 300, 301]])


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize("backbone", ["llama", "qwen3"])
def test_a_saved_checkpoint_opens_with_and_without_this_package(backbone: str, tmp_path: Path) -> None:
    model = CSLMForCausalLM.from_pretrained(make_checkpoint(tmp_path / "first", backbone)).eval()
    model.save_pretrained(tmp_path / "second")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "second").eval()
    again = CSLMForCausalLM.from_pretrained(tmp_path / "second").eval()
    assert torch.equal(logits(model), logits(plain)) and torch.equal(logits(model), logits(again))
    assert not isinstance(plain, CSLMForCausalLM)
    config = json.loads((tmp_path / "second" / "config.json").read_text())
    first = json.loads((tmp_path / "first" / "config.json").read_text())
    assert config["architectures"] == first["architectures"] == [type(plain).__name__]
    assert config["speech"] == first["speech"] and "rope_theta" in config and "rope_parameters" in config
    assert again.processor.fingerprint == model.processor.fingerprint
    assert again.processor.speech_decoder().voices == ("en", "zh")
    left = {path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*")}
    assert left <= {path.relative_to(tmp_path / "second") for path in (tmp_path / "second").rglob("*")}


def test_transformers_generates_from_the_processors_inputs(model: CSLMForCausalLM) -> None:
    inputs = model.processor(text="Peter", task="tts", language="en")
    output = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    assert output.shape[1] <= inputs["input_ids"].shape[1] + 5
    assert not set(output[0].tolist()) & set(model.generation_config.suppress_tokens)


def test_peft_trains_on_top(checkpoint: Path) -> None:
    model = CSLMForCausalLM.from_pretrained(checkpoint)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"]))
    adapted(IDS, labels=IDS).loss.backward()
    assert any(p.grad is not None for name, p in adapted.named_parameters() if "lora" in name)
    reply = adapted.respond((tone(0.5, 16000), 16000), "en", "en", SHORT)
    assert reply.sample_rate_hz == 22050


def test_a_reply_has_text_units_and_a_waveform(model: CSLMForCausalLM, tmp_path: Path) -> None:
    save_waveform(tmp_path / "question.wav", tone(0.6, 22050), 22050)
    reply = model.respond(tmp_path / "question.wav", "zh", "en", SHORT)
    assert (reply.question_language, reply.answer_language, reply.sample_rate_hz) == ("en", "zh", 22050)
    assert isinstance(reply.answer, str) and reply.waveform is not None and reply.waveform.dtype == np.float32
    assert all(units.ids.max(initial=0) < NUM_UNITS for _, units in reply.segments)
    same = model.respond(tmp_path / "question.wav", "zh", "en", SHORT)
    assert same.answer == reply.answer and np.array_equal(same.waveform, reply.waveform)


def test_without_a_language_the_reply_is_in_the_questions(model: CSLMForCausalLM) -> None:
    reply = model.respond((tone(0.6, 16000), 16000), decoding=SHORT)
    assert reply.question_language == reply.answer_language and reply.answer_language in ("en", "zh")


@pytest.mark.parametrize(
    ("transcripts", "sureness", "expected"),
    [
        (("Who is", "谁是"), (-2.0, -1.0), "zh"),
        (("Who is", "谁是"), (-1.0, -2.0), "en"),
        (("Who is", "Who is"), (-2.0, -1.0), "en"),
        (("谁是", "谁是"), (-1.0, -2.0), "zh"),
    ],
)
def test_the_language_of_a_question_is_that_of_its_transcript(
    model: CSLMForCausalLM,
    monkeypatch: pytest.MonkeyPatch,
    transcripts: tuple[str, str],
    sureness: tuple[float, float],
    expected: str,
) -> None:
    units = model.processor.units((tone(0.6, 16000), 16000))
    tasks = model.tasks()
    asked: list[np.ndarray] = []

    def replies(prompts: list[np.ndarray], *_: object, **__: object) -> list[Generated]:
        asked.extend(prompts)
        encode = model.processor.form.encoder.encode
        pairs = zip(transcripts, sureness, strict=True)
        return [Generated(encode(text), sure) for text, sure in pairs] * (len(prompts) // 2)

    monkeypatch.setattr(tasks, "_generate", replies)
    assert tasks.identify_languages([units, units]) == [expected, expected]
    for prompt, language in zip(asked, ("en", "zh", "en", "zh"), strict=True):
        assert prompt[:-1].tolist() == model.processor.prompt("dialogue", language, units=units).tolist()
        assert prompt[-1] == model.processor.vocabulary.question


def test_bad_questions_get_one_line(model: CSLMForCausalLM, tmp_path: Path) -> None:
    save_waveform(tmp_path / "empty.wav", np.zeros(0, np.float32), 16000)
    save_waveform(tmp_path / "blink.wav", np.zeros(100, np.float32), 16000)
    (tmp_path / "corrupt.wav").write_bytes(b"RIFF not a wav")
    for name in ("empty.wav", "blink.wav", "corrupt.wav", "missing.wav"):
        with pytest.raises(UserError, match=name):
            model.respond(tmp_path / name, "en")
    for waveform in (np.zeros(0, np.float32), np.zeros((2, 100), np.float32), np.full(16000, np.nan, np.float32)):
        with pytest.raises(UserError, match="waveform"):
            model.respond((waveform, 16000), "en")
    with pytest.raises(UserError, match="no voice for the language 'fr'"):
        model.respond((tone(0.5, 16000), 16000), "fr")


def test_parts_of_different_tokenizers_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(checkpoint, other)
    config = json.loads((other / "config.json").read_text())
    config["speech"]["fingerprint"] = "sha256:" + "0" * 64
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="another speech tokenizer"):
        CSLMForCausalLM.from_pretrained(other)


def test_what_is_no_speech_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json"):
        CSLMForCausalLM.from_pretrained(_folder(tmp_path / "empty"))
    text = tmp_path / "text"
    tokenizer = train_text_tokenizer(SENTENCES, 500, text)
    tiny_llama(len(tokenizer)).save_pretrained(text)
    with pytest.raises(UserError, match="model of text alone"):
        CSLMForCausalLM.from_pretrained(text)


def test_the_authors_layout_opens(checkpoint: Path, tmp_path: Path) -> None:
    """Their folder has no speech section; markers and units are added tokens, in an order of their own."""
    folder = tmp_path / "release"
    tokenizer = train_text_tokenizer(SENTENCES, 500, folder)
    tokenizer.add_tokens([*(f"<{unit}>" for unit in range(NUM_UNITS)), "<eosp>", "<sosp>"])
    tokenizer.add_tokens(["[question]", "[answer]"])
    tokenizer.save_pretrained(folder)
    tiny_llama(len(tokenizer)).save_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = CSLMForCausalLM.from_pretrained(folder)
    assert model.processor.fingerprint == "unknown"
    assert model.processor.vocabulary.sosp == model.processor.vocabulary.eosp + 1
    with pytest.raises(UserError, match="tokenizer_card"):
        model.respond((tone(0.5, 16000), 16000), "en")
    card, decoder = checkpoint / "speech" / "card.yaml", checkpoint / "speech" / "decoder"
    with pytest.warns(UserWarning, match="name its card"):
        model = CSLMForCausalLM.from_pretrained(folder, tokenizer_card=card, decoder=decoder)
    assert model.respond((tone(0.5, 16000), 16000), "en", "en", SHORT).sample_rate_hz == 22050


def tiny_llama(num_rows: int) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=num_rows, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
            pad_token_id=0, bos_token_id=None, eos_token_id=2,
        )
    )  # fmt: skip


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_the_saved_tokenizer_opens_as_any(checkpoint: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert tokenizer.chat_template and "<sosp>" in tokenizer.get_added_vocab()


def test_a_tensor_that_is_missing_is_refused_and_not_made_up(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "less")
    tensors = load_file(tmp_path / "less" / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "less" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"missing from its files.*layers\.1\.mlp\.up_proj"):
        CSLMForCausalLM.from_pretrained(tmp_path / "less")


def test_a_model_of_the_hub_is_downloaded_first(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(local_folder, "snapshot_download", lambda name, **_: asked.append(name) or str(checkpoint))
    model = CSLMForCausalLM.from_pretrained("somebody/a-model")
    assert asked == ["somebody/a-model"] and model.processor.speech_decoder().voices == ("en", "zh")
    monkeypatch.undo()
    with pytest.raises(UserError, match="nowhere: there is no such checkpoint folder, nor a model on the Hub"):
        CSLMForCausalLM.from_pretrained(tmp_path / "nowhere")
