"""What a speech language model is asked, many items at once: transcribe, speak a text, answer spoken questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from cslm.codecs.units import Units
from cslm.generation.decoding import DecodingConfig, Generated, ReplyRules, decode, generate
from cslm.generation.grammar import UnitGrammar, Writes
from cslm.generation.listening import ReadAhead
from cslm.generation.processor import CSLMProcessor
from cslm.generation.scripts import script_share
from cslm.sequences.chain_of_modality import ParsedReply
from cslm.sequences.prompts import PastTurn
from cslm.sequences.vocabulary import MARKERS

_PROBE_TOKENS = 12


@dataclass(frozen=True)
class SpokenAnswer:
    """The reply to one spoken question, taken apart, and the ids that the model wrote."""

    reply: ParsedReply
    ids: list[int]


class Grammars:
    """The grammars of one processor and one size of the model's head, each laid out once and then kept."""

    def __init__(self, processor: CSLMProcessor, num_rows: int) -> None:
        self.processor, self.num_rows = processor, num_rows
        self._laid_out: dict[Writes, UnitGrammar] = {}

    def grammar(self, writes: Writes) -> UnitGrammar:
        """The grammar of replies made of ``writes``; of anything: in the chain of the checkpoint, if it is its own."""
        if writes not in self._laid_out:
            nameless = self.processor.nameless_ids(self.num_rows)
            chain = self.processor.chain
            plain = chain.speaks and chain.markers and set(chain.markers) <= set(MARKERS)
            restricted = chain if writes == "anything" and not plain else None
            self._laid_out[writes] = UnitGrammar(
                self.processor.form.vocabulary, self.num_rows, writes, nameless, restricted
            )
        return self._laid_out[writes]

    def fit(self, processor: CSLMProcessor, num_rows: int) -> bool:
        """Whether these are the grammars of this processor and this number of rows."""
        return self.processor is processor and self.num_rows == num_rows


class SpeechTasks:
    """The tasks of one model, decoded in batches."""

    def __init__(self, model: PreTrainedModel, processor: CSLMProcessor, grammars: Grammars | None = None) -> None:
        """Put them together.

        Args:
            grammars: those of this processor and model (default: laid out here).
        """
        self.model = model
        self.processor = processor
        self._grammars = grammars or Grammars(processor, num_head_rows(model))

    def transcribe(
        self,
        units: Sequence[Units],
        languages: Sequence[str],
        decoding: DecodingConfig | None = None,
        description: str | None = None,
    ) -> list[str]:
        """The text of each stretch of speech (ASR)."""
        pairs = zip(units, languages, strict=True)
        prompts = [self.processor.prompt("asr", language, units=item) for item, language in pairs]
        decoding = decoding or DecodingConfig(max_new_tokens=256)
        replies = self._generate(prompts, "text", decoding, self.processor.end_ids, description=description)
        return [self.processor.decode(reply.ids).answer for reply in replies]

    def synthesize(
        self,
        texts: Sequence[str],
        languages: Sequence[str],
        decoding: DecodingConfig | None = None,
        generator: torch.Generator | None = None,
        description: str | None = None,
    ) -> list[Units]:
        """Units that say each text (TTS). Decoding stops at the first ``<eosp>``."""
        prompts = [self.processor.prompt("tts", lang, text=text) for text, lang in zip(texts, languages, strict=True)]
        decoding = decoding or DecodingConfig(max_new_tokens=1024)
        ends = (self.processor.vocabulary.eosp,)
        replies = self._generate(prompts, "speech", decoding, ends, generator, description=description)
        vocabulary = self.processor.vocabulary
        return [Units(vocabulary.units_from_ids(np.asarray(reply.ids[1:], dtype=np.int64))) for reply in replies]

    def answer(
        self,
        questions: Sequence[Units],
        question_languages: Sequence[str],
        answer_languages: Sequence[str],
        decoding: DecodingConfig | None = None,
        generator: torch.Generator | None = None,
        description: str | None = None,
        past: Sequence[Sequence[PastTurn]] | None = None,
    ) -> list[SpokenAnswer]:
        """The answer to each spoken question, in the chain of the checkpoint; of a silent one it has no units.

        Args:
            past: the turns before each question (default: none).
        """
        before = past if past is not None else [()] * len(questions)
        prompts = [
            self.processor.question_prompt(*asked)
            for asked in zip(questions, question_languages, answer_languages, before, strict=True)
        ]
        decoding = decoding or DecodingConfig()
        replies = self._generate(
            prompts, "anything", decoding, self.processor.end_ids, generator, description=description
        )
        return [SpokenAnswer(self.processor.decode(reply.ids), reply.ids) for reply in replies]

    def continue_units(
        self,
        units: Sequence[Units],
        num_ids: Sequence[int],
        decoding: DecodingConfig | None = None,
        generator: torch.Generator | None = None,
        description: str | None = None,
    ) -> list[tuple[Units, bool]]:
        """What a textless model writes behind each stretch of speech, without durations, and whether it ended there.

        Args:
            num_ids: at most so many ids of each.
        """
        prompts = [self.processor.opening(item) for item in units]
        decoding = dataclasses.replace(decoding or DecodingConfig(), max_new_tokens=max(num_ids))
        ends = self.processor.end_ids
        replies = self._generate(prompts, "speech", decoding, ends, generator, description=description)
        vocabulary = self.processor.vocabulary
        found = []
        for reply, most in zip(replies, num_ids, strict=True):
            ids = np.asarray(reply.ids[:most], dtype=np.int64)
            is_whole = bool(len(ids)) and int(ids[-1]) in ends
            found.append((Units(vocabulary.units_from_ids(ids[:-1] if is_whole else ids)), is_whole))
        return found

    def write_answer(
        self,
        question: Units,
        question_language: str,
        answer_language: str,
        decoding: DecodingConfig | None = None,
        generator: torch.Generator | None = None,
        past: Sequence[PastTurn] = (),
        ahead: ReadAhead | None = None,
    ) -> Generator[int, None, None]:
        """The ids of the answer to one spoken question, each as soon as it is written. Closing it stops the work.

        Args:
            generator: draws the tokens; needed where ``decoding.temperature`` is above 0.
            past: the turns before it.
            ahead: what has read the beginning of the prompt.
        """
        prompt = self.processor.question_prompt(question, question_language, answer_language, past)
        rules = self.rules("anything")
        generators = [generator] if generator is not None else []
        begun = None if ahead is None else ahead.begun(prompt)
        steps = decode(self.model, [prompt], rules, decoding or DecodingConfig(), generators, begun=begun)
        with closing(steps):
            for step in steps:
                yield step.ids[0]

    def identify_languages(self, questions: Sequence[Units], languages: Sequence[str] | None = None) -> list[str]:
        """The language that each question is in, among ``languages`` (default: the processor's).

        The model begins to transcribe the question under the prompt of each language (asked and answered in it). A
        language wins whose transcript is in its own script: small models transcribe what they hear, whatever the
        prompt. Among languages of one script, the one under whose prompt the model is surest of the first words.

        The prompt of an answer in the same language differs from that of an answer across languages, so this is also
        asked where only the answer's language is given.
        """
        candidates = tuple(languages or self.processor.languages)
        if len(candidates) == 1 or not questions:
            return [candidates[0]] * len(questions)
        labelled = bool(self.processor.chain.segments[0].label)  # the model writes its label itself
        marker = np.array([] if labelled else [self.processor.vocabulary.question], dtype=np.int32)
        prompts = [
            np.concatenate([self.processor.prompt("dialogue", language, units=units, answer_language=language), marker])
            for units in questions
            for language in candidates
        ]
        decoding = DecodingConfig(max_new_tokens=_PROBE_TOKENS)
        ends = (*self.processor.end_ids, self.processor.vocabulary.answer)
        replies = self._generate(prompts, "anything", decoding, ends, with_probabilities=True)
        if labelled:
            transcripts = [self.processor.decode(reply.ids).question or "" for reply in replies]
        else:
            transcripts = [self.processor.form.encoder.decode(reply.ids) for reply in replies]
        found = []
        for start in range(0, len(replies), len(candidates)):
            ranked = [
                (round(script_share(transcripts[start + i], language), 1), replies[start + i].mean_log_probability)
                for i, language in enumerate(candidates)
            ]
            found.append(candidates[ranked.index(max(ranked))])
        return found

    def _generate(
        self,
        prompts: Sequence[NDArray[Any]],
        writes: Writes,
        decoding: DecodingConfig,
        end_ids: Sequence[int],
        generator: torch.Generator | None = None,
        with_probabilities: bool = False,
        description: str | None = None,
    ) -> list[Generated]:
        rules = self.rules(writes, end_ids)
        return generate(self.model, prompts, rules, decoding, generator, with_probabilities, description)

    def rules(self, writes: Writes, end_ids: Sequence[int] | None = None) -> ReplyRules:
        """What replies made of ``writes`` follow; they end with one of ``end_ids`` (default: the end of the turn)."""
        ends = frozenset(self.processor.end_ids if end_ids is None else end_ids)
        return ReplyRules(self._grammars.grammar(writes), ends, self.processor.pad_id)


def num_head_rows(model: PreTrainedModel) -> int:
    """Rows of the model's head: the width of its logits."""
    return int(model.get_output_embeddings().weight.shape[0])
