"""A hamlet that has gone the whole way through the recipes of the village, two steps a stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from cslm.codecs import fit_tokenizer
from cslm.synthesis import prepare_corpus
from cslm.training import finetune, pretrain, train_decoder
from cslm.units import tokenize_corpus

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / "recipes" / "village" / "small"
TWO_STEPS = ["--training.max_steps", "2", "--training.tokens_per_step", "300", "--training.device.num_threads", "1"]
TWO_STEPS += ["--training.schedule.warmup_steps", "0"]  # more than two are refused
TINY_MODEL = ["--model.architecture.hidden_size", "32", "--model.architecture.intermediate_size", "32"]
TINY_MODEL += ["--model.architecture.num_hidden_layers", "2", "--model.architecture.head_dim", "16"]


def two_steps(stage: str, name: str, root: Path, *more: str, recipe: Path = SMALL) -> None:
    """Run a training recipe for two steps; its folder in ``root`` is the one the recipe names."""
    verb = {"text_lm": pretrain, "pretrain": pretrain, "finetune": finetune, "decoder": train_decoder}[stage]
    fewer = ["--max_utterances", "12", "--decoder.width", "32"] if stage == "decoder" else []
    verb.main(["--config", str(recipe / f"{name}.yaml"), "--data_root", str(root), *TWO_STEPS, *fewer, *more])


@pytest.fixture(scope="session")
def hamlet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: corpus, tokenizer, units, text_lm, pretrain, decoder and finetune."""
    pytest.importorskip("espeakng_loader", reason="the village speaks with the extra tts")
    root = tmp_path_factory.mktemp("hamlet")
    corpus, card = str(root / "corpus"), str(root / "tokenizer" / "card.yaml")
    prepare_corpus.main(["village", corpus, "--size", "tiny", "--num_workers", "1"])
    train = f"{corpus}/train.jsonl"
    settings = ["--config", str(SMALL / "tokenizer.yaml"), "--sample_hours", "0.05"]
    fit_tokenizer.main([train, *settings, "--codebook_size", "32", "--output", card])
    tokenize_corpus.main([train, "--tokenizer", card, "--output", str(root / "units"), "--num_workers", "1"])
    two_steps("text_lm", "text_lm", root, *TINY_MODEL, "--text_tokenizer.vocab_size", "600")
    two_steps("pretrain", "pretrain", root)
    two_steps("decoder", "decoder", root)
    two_steps("finetune", "finetune", root)
    return root
