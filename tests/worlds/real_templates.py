"""Chat templates as models of the Hub have them, and tiny tokenizers of every kind, with the tokens they write."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

from tokenizers.models import BPE, Unigram
from tokenizers.trainers import BpeTrainer, UnigramTrainer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tests.worlds.small_village import sentences
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers

CONTROLS = [
    "<unk>", "<s>", "</s>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<|system|>", "<|user|>", "<|assistant|>",
    "<|end|>", "<|endoftext|>",
]  # fmt: skip

LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA_3 = (
    "{{ '<|begin_of_text|>' }}{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{% endif %}"
    "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] | trim %}"
    "{% set messages = messages[1:] %}{% else %}{% set system_message = '' %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "{{ 'Today Date: ' + date_string + '\\n\\n' }}{{ system_message }}<|eot_id|>"
    "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
    " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token}}{% endif %}"
    "{% endfor %}"
)
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>'"
    " + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
GEMMA = (
    "{{ '<s>' }}{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' "
    "else message['role'] %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"
)
PHI_3 = (
    "{% for message in messages %}{{'<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)
ZEPHYR = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
VICUNA = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ 'USER: ' + message['content'].strip() + ' ' }}{% else %}"
    "{{ 'ASSISTANT: ' + message['content'].strip() + eos_token + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
QWEN_3 = (
    "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}"
    "{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}"
    "{%- if ns.multi_step_tool and message.role == 'user' and message.content is string and not("
    "message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}"
    "{%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}{%- endif %}{%- endfor %}"
    "{%- for message in messages %}{%- set content = message.content %}"
    "{%- if (message.role == 'user') or (message.role == 'system') %}"
    "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}"
    "{%- elif message.role == 'assistant' %}{%- set reasoning_content = '' %}{%- if '</think>' in content %}"
    "{%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{%- if loop.index0 > ns.last_query_index %}{%- if loop.last or (not loop.last and reasoning_content) %}"
    "{{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + "
    "content.lstrip('\\n') }}{%- else %}{{- '<|im_start|>' + message.role + '\\n' + content }}{%- endif %}"
    "{%- else %}{{- '<|im_start|>' + message.role + '\\n' + content }}{%- endif %}{{- '<|im_end|>\\n' }}"
    "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
TEMPLATES = {
    "llama-2": LLAMA_2, "llama-3": LLAMA_3, "mistral": MISTRAL, "chatml": CHATML, "gemma": GEMMA, "phi-3": PHI_3,
    "zephyr": ZEPHYR, "vicuna": VICUNA,
}  # fmt: skip
SPACE = "▁"


def byte_level() -> Tokenizer:
    """As Llama 3, Qwen and SmolLM have."""
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(_texts(), BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))
    return backend


def byte_level_with_prefix() -> Tokenizer:
    """The same, which writes a space before a text that has none."""
    backend = byte_level()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return backend


def sentencepiece_bpe() -> Tokenizer:
    """As Llama 2 has it, ``legacy``: a space before every stretch between two tokens."""
    backend = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    _train(backend)
    backend.decoder = _decoder()
    return backend


def sentencepiece_bpe_at_the_start() -> Tokenizer:
    """As Llama 2 has it, not ``legacy``, and Mistral: a space before the beginning of a text alone."""
    backend = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    _train(backend)
    backend.decoder = _decoder()
    return backend


def sentencepiece_bpe_without_prefix() -> Tokenizer:
    """As Gemma has it: no space where there is none."""
    backend = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Replace(" ", SPACE)
    _train(backend)
    backend.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return backend


def unigram(prepend_scheme: str) -> Callable[[], Tokenizer]:
    """As T5 and XLM-R have it, with spaces before words prepended always, at the start, or never."""

    def make() -> Tokenizer:
        backend = Tokenizer(Unigram())
        backend.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
        alphabet = sorted({character for text in _texts() for character in text})
        trainer = UnigramTrainer(
            vocab_size=500, special_tokens=["<unk>"], unk_token="<unk>", initial_alphabet=alphabet, show_progress=False
        )
        backend.train_from_iterator(_texts(), trainer)
        backend.decoder = decoders.Metaspace(prepend_scheme=prepend_scheme)
        return backend

    return make


BACKENDS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": byte_level,
    "byte-level with a prefix": byte_level_with_prefix,
    "sentencepiece": sentencepiece_bpe,
    "sentencepiece, at the start": sentencepiece_bpe_at_the_start,
    "sentencepiece, no prefix": sentencepiece_bpe_without_prefix,
    "unigram, always": unigram("always"),
    "unigram, first": unigram("first"),
    "unigram, never": unigram("never"),
}


def real_tokenizer(kind: str, template: str, tokens: list[AddedToken] | None = None) -> PreTrainedTokenizerBase:
    """A tokenizer of a kind with a template of :data:`TEMPLATES`; ``tokens`` say how the controls are found."""
    backend = Tokenizer.from_str(_backend(kind))
    backend.add_special_tokens(tokens or [AddedToken(token, normalized=False, special=True) for token in CONTROLS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


@cache
def _backend(kind: str) -> str:
    state = json.loads(BACKENDS[kind]().to_str())
    state["added_tokens"] = []  # names of bytes are pieces and no more
    return json.dumps(state)


def _texts() -> list[str]:
    every = "".join(chr(code) for code in range(33, 127)) + "é"
    layouts = ["user\nassistant\nsystem\nmodel\n", "[INST] a [/INST]", "Hello.\n\nYes, 12 of 3.\n", "<a>: (b)"]
    return [*sentences(), every, *layouts]


def _train(backend: Tokenizer) -> None:
    """Fit merges as SentencePiece does: inside words with the space before them, and inside lines."""
    wanted, words = backend.pre_tokenizer, pre_tokenizers.Metaspace(prepend_scheme="never")
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split("\n", "isolated"), words])
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = BpeTrainer(vocab_size=900, special_tokens=tokens, show_progress=False)
    backend.train_from_iterator(_texts(), trainer)
    backend.pre_tokenizer = wanted if wanted is not None else pre_tokenizers.Sequence([])


def _decoder() -> decoders.Decoder:
    return decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
