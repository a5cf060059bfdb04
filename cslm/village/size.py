"""How large a village is and how much is told about it."""

from __future__ import annotations

from dataclasses import dataclass

from cslm.errors import UserError


@dataclass
class VillageSize:
    """How large a village is and how much is told about it."""

    languages: list[str]
    """Names of the tables (the YAML files in ``data/``), or paths of other YAML files."""
    num_people: int
    """The first so many names."""
    attributes: list[str]
    """Which attributes people have."""
    num_question_forms: int
    """The first so many ways to ask."""
    num_answer_forms: int
    """The first so many ways to answer."""
    held_out_fraction: float
    """Share of the (person, attribute) pairs that are never heard in training; rounded up."""
    num_question_voices: int
    """Voices a language that ask in training; one more is heard only in a test."""
    voices_per_question: int
    """Renderings of each training question, each by another voice."""
    jitter: float
    """Pitch and rate of the asking voices vary by this share, up and down."""
    num_clause_sentences: int
    """Free sentences in the answer voice made of an answer's clauses, with any name and value."""
    num_other_answer_voice_sentences: int
    """Other free sentences in the answer voice."""
    num_short_sentences: int
    """Sentences of one to three words in the voices that ask, in each language: hearing starts from them."""
    num_question_voice_sentences: int
    """Free sentences in the asking voices."""
    num_free_dialogues_per_direction: int
    """Free sentences made of clauses that a voice that asks says too, and that are said back."""
    num_stories_per_person: int
    """Written tellings of each person's facts, in each language."""
    num_text_sentences: int
    """Free sentences that are told in written documents too, in each language."""
    num_instructions: int
    """Written instructions with replies, in each language."""
    num_translations: int
    """Sentence pairs, in each direction."""
    num_asr_test: int
    """Test utterances of heard voices, in each language."""
    num_unheard_test: int
    """Test utterances of the voice that training never heard, in each language."""
    num_tts_test: int
    """Test utterances in the answer voice, in each language."""
    num_dialogue_test: int
    """Test questions in each language; 0 takes every held-out pair with every question form."""
    draw_words: bool = False
    """Whether the seed draws which of the tables' names and values are used; otherwise the first ones are."""
    num_values: int = 0
    """Values of each attribute; 0 takes all."""
    num_answer_clauses: int = 0
    """Of every answer, 1 to 5, the bare fact alone at 1; 0: as many as the question's form asks for, 2 to 5."""
    content_first: bool = False
    """Whether questions begin with the name, and facts with the value where a table has them so: what a chain keeps
    that is compressed to the first words of its sentences. Needs ``content_first`` in every table."""
    core_language: str | None = None
    """The language (BCP 47) whose written documents alone tell the facts of the core people."""
    num_core_people: int = 0
    """So many of the people, the last ones, are core people: no other language's text and no speech tells their facts,
    but for the chains of those that are no test."""
    num_core_test_people: int = 0
    """So many of the core people, the last ones, are asked about in tests only."""
    num_core_test: int = 0
    """Spoken test questions about them in each other language; 0 takes every pair with every question form."""
    num_training_stories: int = 0
    """Aligned stories of several sentences to learn from, each told in every language."""
    num_translated_statements: int = 0
    """Sentences of an answer's clauses, with any name and value, that translations alone are drawn from; 0 draws from
    what is told and said. No core person is given a value of theirs: translations tell nothing."""
    num_held_out_stories: int = 0
    """Aligned stories for tests; who does what in them is in no story of training."""
    shortest_story: int = 3
    """Sentences, at least 3."""
    longest_story: int = 5
    """Sentences, at most 5."""
    num_story_voices: int = 1
    """Speakers of stories, each the same variant of the synthesizer in every language."""
    num_wrong_endings: int = 4
    """Test pairs of each kind that a held-out story gives: its ending against so many others."""
    bare_clauses: bool = False
    """Whether each of the free sentences made of an answer's clauses is one fact: one name and one value."""
    num_turn_dialogues: int = 0
    """Spoken dialogues of several turns to learn from, in each language that asks; with tests of such dialogues."""
    longest_dialogue: int = 3
    """Turns of a dialogue, at least 2."""
    interrupted_fraction: float = 0.25
    """Share of the answers in these dialogues, the last ones apart, that were stopped before their end."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: more sentences are said back than there are, or numbers of people or sentences that cannot be.
        """
        said_back, said = self.num_free_dialogues_per_direction, self.num_clause_sentences
        if said_back > said:
            raise UserError(f"num_free_dialogues_per_direction {said_back} is above num_clause_sentences {said}")
        core, tested = self.num_core_people, self.num_core_test_people
        if core and self.core_language is None:
            raise UserError(f"num_core_people is {core}, but no core_language tells of them; name one of the languages")
        if not 0 <= tested <= core <= self.num_people:
            raise UserError(
                f"num_core_test_people {tested}, num_core_people {core}, num_people {self.num_people}: "
                "each must be at most the next"
            )
        if core and core == self.num_people:
            raise UserError(f"num_core_people is {core}, and so are num_people: some people must be told of by all")
        if self.num_turn_dialogues < 0 or self.longest_dialogue < 2 or not 0 <= self.interrupted_fraction <= 1:
            raise UserError(
                f"num_turn_dialogues {self.num_turn_dialogues}, longest_dialogue {self.longest_dialogue}, "
                f"interrupted_fraction {self.interrupted_fraction}: give 0 or more, 2 or more, and 0 to 1"
            )
        if not 0 <= self.num_answer_clauses <= 5:
            raise UserError(f"num_answer_clauses {self.num_answer_clauses} must be 0 (by the question's form) to 5")
        half_asked = ("num_asr_test", "num_unheard_test", "num_tts_test")
        for name in half_asked if self.held_out_fraction == 0 else ():
            if getattr(self, name):
                raise UserError(
                    f"{name} is {getattr(self, name)}, and half of them are held-out questions: there are none: "
                    f"set held_out_fraction above 0, or {name} 0"
                )
        if not 3 <= self.shortest_story <= self.longest_story <= 5:
            raise UserError(f"stories of {self.shortest_story} to {self.longest_story} sentences: must be 3 to 5")
