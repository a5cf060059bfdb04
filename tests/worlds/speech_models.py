"""Small models that speak and that tell speakers apart, with random weights, saved as users have them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from transformers import (
    SpeechT5Config,
    SpeechT5FeatureExtractor,
    SpeechT5ForTextToSpeech,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    SpeechT5Processor,
    SpeechT5Tokenizer,
    VitsConfig,
    VitsModel,
    VitsTokenizer,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMForXVector,
)

from tests.worlds.translation_models import spm

LETTERS = "abcdefghijklmnopqrstuvwxyz '"


def vits(folder: Path, num_speakers: int = 1, letters: str = LETTERS, is_uroman: bool = False, seed: int = 0) -> Path:
    """VITS as MMS has it: a character a token, a blank between."""
    torch.manual_seed(seed)
    vocabulary = {letter: number for number, letter in enumerate(["<pad>", *letters, "<unk>"])}
    file = folder.with_name(f"{folder.name}-vocab.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(vocabulary))
    tokenizer = VitsTokenizer(str(file), pad_token="<pad>", unk_token="<unk>", language="eng", phonemize=False,
                              is_uroman=is_uroman)  # fmt: skip
    tokenizer.save_pretrained(folder)
    config = VitsConfig(
        vocab_size=len(vocabulary), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, window_size=2, ffn_dim=8,
        flow_size=8, spectrogram_bins=9, upsample_initial_channel=8, upsample_rates=(4, 4),
        upsample_kernel_sizes=(8, 8), resblock_kernel_sizes=(3,), resblock_dilation_sizes=((1,),),
        prior_encoder_num_flows=1, prior_encoder_num_wavenet_layers=1, posterior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=1, duration_predictor_filter_channels=8, depth_separable_channels=2,
        depth_separable_num_layers=1, wavenet_kernel_size=3, num_speakers=num_speakers, pad_token_id=0,
        speaker_embedding_size=4 if num_speakers > 1 else 0, sampling_rate=2000,
    )  # fmt: skip
    VitsModel(config).save_pretrained(folder)
    return folder


def speecht5(folder: Path, vocoder: Path, ends: bool = True) -> None:
    """SpeechT5 with its vocoder; ``ends``: whether it finds the end of a text."""
    torch.manual_seed(0)
    model = spm(
        folder.with_name(f"{folder.name}-spm"), "char", model_type="char", bos_id=0, pad_id=1, eos_id=2, unk_id=3
    )
    tokenizer = SpeechT5Tokenizer(str(model))
    extractor = SpeechT5FeatureExtractor(num_mel_bins=8, sampling_rate=16000)
    SpeechT5Processor(extractor, tokenizer).save_pretrained(folder)
    config = SpeechT5Config(
        vocab_size=len(tokenizer), hidden_size=8, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=8,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=8, num_mel_bins=8, speech_decoder_prenet_units=8,
        speaker_embedding_dim=4, speech_decoder_postnet_layers=2, speech_decoder_postnet_units=8, reduction_factor=2,
        max_text_positions=60, max_speech_positions=2000, encoder_max_relative_position=8, pad_token_id=1,
    )  # fmt: skip
    speaker = SpeechT5ForTextToSpeech(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in speaker.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    torch.nn.init.constant_(speaker.speech_decoder_postnet.prob_out.bias, -1.0 if ends else -200.0)
    speaker.save_pretrained(folder)
    SpeechT5HifiGan(
        SpeechT5HifiGanConfig(model_in_dim=8, upsample_initial_channel=8, upsample_rates=[4, 4],
                              upsample_kernel_sizes=[8, 8], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]])
    ).save_pretrained(vocoder)  # fmt: skip


def x_vectors(folder: Path, *names: str, dims: int = 4) -> Path:
    """A folder of voices."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        np.save(folder / f"{name}.npy", np.random.default_rng(number).normal(size=dims).astype(np.float32))
    return folder


def wavlm_xvector(folder: Path) -> Path:
    """A speaker-verification model of the kind of wavlm-base-plus-sv."""
    torch.manual_seed(0)
    config = WavLMConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, num_buckets=16, max_bucket_distance=32,
        tdnn_dim=(16, 16, 32), tdnn_kernel=(5, 3, 1), tdnn_dilation=(1, 2, 1), xvector_output_dim=16,
        do_stable_layer_norm=False,
    )  # fmt: skip
    WavLMForXVector(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder
