"""Whether a text tokenizer made here is the same once its folder is opened again.

Transformers 5 opens the tokenizers of some model types (qwen2 among them) with a class of its own, whatever the folder
says: one that was made from scratch then gives no ids, or others.
"""

from __future__ import annotations

import tempfile

from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from cslm.errors import UserError, first_line
from cslm.sequences.text_tokenizer import save_text_tokenizer

_SAMPLE = "The baker's dog: 12 bones, please! Où ça? 你好。"


def check_reopens(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Make sure that transformers opens the tokenizer as it is, beside a configuration of this model type.

    Raises:
        UserError: it does not; no checkpoint of the run could be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        save_text_tokenizer(tokenizer, folder)
        try:
            opened = AutoTokenizer.from_pretrained(folder)
        except (ValueError, OSError, AttributeError) as error:
            raise _another_type(config, first_line(error)) from error
    same = opened.get_vocab() == tokenizer.get_vocab() and opened.encode(_SAMPLE) == tokenizer.encode(_SAMPLE)
    if not same:
        raise _another_type(config, f"it is opened as {type(opened).__name__}")


def _another_type(config: PretrainedConfig, why: str) -> UserError:
    return UserError(
        f"model.architecture.model_type is {config.model_type}: transformers does not open a text tokenizer made here "
        f"beside such a model ({why}); choose another type, such as qwen3 or llama"
    )
