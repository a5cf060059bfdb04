"""Tiny random audio-text models of transformers, saved with their processors as users have them."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from transformers import AddedToken

from tests.worlds.real_templates import CONTROLS, real_tokenizer

TEXT = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 2048,
}  # fmt: skip
PARTS = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}AUDIO{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _tokenizer(*more: str) -> transformers.PreTrainedTokenizerBase:
    added = [AddedToken(token, normalized=False, special=True) for token in (*CONTROLS, *more)]
    tokenizer = real_tokenizer("byte-level", "chatml", added)
    tokenizer.add_special_tokens({"pad_token": "</s>"})
    return tokenizer


def _saved(model: torch.nn.Module, processor: object, folder: Path) -> Path:
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)  # type: ignore[operator]
    processor.save_pretrained(folder)  # type: ignore[attr-defined]
    return folder


def make_qwen2_audio(folder: Path) -> Path:
    """Its encoder hears 30 s, as the published one."""
    torch.manual_seed(0)
    tokenizer = _tokenizer("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
    config = transformers.Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder", "d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32, "num_mel_bins": 16, "max_source_positions": 1500,
        },
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **TEXT},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )  # fmt: skip
    model = transformers.Qwen2AudioForConditionalGeneration(config)
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    extractor = transformers.WhisperFeatureExtractor(feature_size=16)
    template = PARTS.replace("AUDIO", "<|audio_bos|><|AUDIO|><|audio_eos|>")
    processor = transformers.Qwen2AudioProcessor(extractor, tokenizer, chat_template=template)
    return _saved(model, processor, folder)


def make_granite_speech(folder: Path) -> Path:
    """Its template takes plain text, in which a token stands for audio."""
    torch.manual_seed(0)
    tokenizer = _tokenizer("<|audio|>")
    tokenizer.chat_template = PARTS
    config = transformers.GraniteSpeechConfig(
        encoder_config={
            "model_type": "granite_speech_encoder", "input_dim": 160, "num_layers": 1, "hidden_dim": 16,
            "feedforward_mult": 2, "num_heads": 2, "dim_head": 8, "output_dim": 10, "context_size": 20,
            "max_pos_emb": 32, "conv_kernel_size": 5,
        },
        text_config={"model_type": "granite", "vocab_size": len(tokenizer), **TEXT},
        projector_config={
            "model_type": "blip_2_qformer", "hidden_size": 16, "encoder_hidden_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 32, "cross_attention_frequency": 1,
        },
        audio_token_index=tokenizer.convert_tokens_to_ids("<|audio|>"), has_lora_adapter=False,
    )  # fmt: skip
    model = transformers.GraniteSpeechForConditionalGeneration(config)
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    processor = transformers.GraniteSpeechProcessor(transformers.GraniteSpeechFeatureExtractor(), tokenizer)
    return _saved(model, processor, folder)
