"""What the losses of a speech prompt can be told: a section each, of which one or more are given."""

from __future__ import annotations

from dataclasses import dataclass

from cslm.ranges import Range, check_numbers


@dataclass
class CrossEntropyConfig:
    """Next-token cross-entropy of what is trained."""

    weight: float = 1.0
    """what its mean counts in the whole"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "losses.cross_entropy", weight=Range(above=0))


@dataclass
class LanguageIdentificationConfig:
    """Cross-entropy of a gate against the true language (LAD, L_LID)."""

    weight: float = 1.0
    """what its mean over clips counts in the whole"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "losses.language_identification", weight=Range(above=0))


@dataclass
class InputDistillationConfig:
    """The last vectors of a clip against the embeddings of its transcript, by their distance (LAD, L_IN)."""

    weight: float = 1.0
    """what its mean over the ids of transcripts counts in the whole"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "losses.input_distillation", weight=Range(above=0))


@dataclass
class OutputDistillationConfig:
    """The last hidden state before the answer against that of the transcript, by their distance (LAD, L_OUT)."""

    weight: float = 1.0
    """what its mean over clips counts in the whole"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "losses.output_distillation", weight=Range(above=0))


@dataclass
class OutputKlConfig:
    """KL of the first token of the answer, from the transcript's distribution to that of speech; in place of L_OUT."""

    weight: float = 1.0
    """what its mean over clips counts in the whole"""
    temperature: float = 2.0
    """that both distributions are softened by; gradients keep their size, for the divergence counts its square"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "losses.output_kl", weight=Range(above=0), temperature=Range(above=0))


@dataclass
class ImitationKlConfig:
    """KL of every token of an imitated answer, from what is predicted on the transcript to what is on speech."""

    weight: float = 1.0
    """what its mean over these tokens counts in the whole"""
    temperature: float = 2.0
    """that both distributions are softened by; gradients keep their size, for the divergence counts its square"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "losses.imitation_kl", weight=Range(above=0), temperature=Range(above=0))


@dataclass
class PromptLossesConfig:
    """What the connector learns by: the sections that are given, each a term of the objective."""

    cross_entropy: CrossEntropyConfig | None = None
    """next-token cross-entropy of answers"""
    language_identification: LanguageIdentificationConfig | None = None
    """the gate of a query bank against the true language"""
    input_distillation: InputDistillationConfig | None = None
    """last vectors against embeddings of the transcript"""
    output_distillation: OutputDistillationConfig | None = None
    """last hidden state against a teacher's on the transcript"""
    output_kl: OutputKlConfig | None = None
    """the same by the next token's distribution"""
    imitation_kl: ImitationKlConfig | None = None
    """every token of an imitated answer against the same model on the transcript"""
