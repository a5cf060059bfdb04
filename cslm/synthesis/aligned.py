"""Corpora that say the same things in several languages already: one manifest with groups, and stories where wanted.

Utterances correspond by their groups, by their ids, or by a table of pairs. What one language says alone stays, without
a group.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cslm.corpora.intake import MAX_REJECTED_SHARE, REJECTED
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance, audio_from, read_manifest, resolve_audio, write_manifest
from cslm.corpora.table import TableConfig, prepare_table
from cslm.corpora.table_rows import read_rows
from cslm.errors import UserError
from cslm.files.atomic_file import remove_folder
from cslm.files.json_lines import read_json_lines, write_json_lines
from cslm.ranges import Range, check_numbers
from cslm.synthesis.written_stories import is_test
from cslm.village.story_records import TEST, TRAINING

_DELIMITERS = {".tsv": "\t", ".txt": "\t", ".csv": ","}
Spoken = dict[str, dict[str, Utterance]]
"""Utterances by language and by their id in it."""
Groups = dict[str, dict[str, list[str]]]
"""Name of a group to the ids that say it, by language: several are several voices."""


@dataclass
class AlignedConfig:
    """Where the utterances of each language are, and how they correspond."""

    manifests: list[str] = field(default_factory=list)
    """Manifests, of a language each or of several."""
    tables: dict[str, str] = field(default_factory=dict)
    """Language to a table of ids and texts, in place of manifests: {en: prompts/en.tsv, fr: prompts/fr.tsv}. Its audio
    is in the folder of the table's name (prompts/en/ID.wav), or where audio_dirs says."""
    audio_dirs: dict[str, str] = field(default_factory=dict)
    """Language to the folder of the audio of its table."""
    path_template: str = "{id}.wav"
    """Path of a row's audio inside that folder, as of the corpus `table`."""
    id_column: str = "id"
    """Column of the ids in tables."""
    text_column: str = "text"
    """Column of the texts in tables."""
    pairs: str | None = None
    """A table (.tsv, .csv) whose header names the languages and whose cells hold ids that say the same thing; an empty
    cell says nothing. null: equal groups do where the manifests have groups, else equal ids."""
    sentences_per_document: int | None = None
    """Make a story of each so many groups in a row that all languages have, in the order of the first language; null
    keeps the documents and places of the manifests."""
    test_share: float = 0.0
    """Share of the stories, or of the groups where there are none, that is kept for tests: then story_train.jsonl and
    story_test.jsonl are written too."""
    seed: int = 0
    """Draws the tests."""
    max_rejected_share: float = MAX_REJECTED_SHARE
    """Where a larger share of the rows cannot be used, the command ends with status 2; the others are written."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, or manifests and tables both, or neither.
        """
        check_numbers(self, "", sentences_per_document=Range(least=2), test_share=Range(0, 1))
        if bool(self.manifests) == bool(self.tables):
            raise UserError("give either --manifests or --tables: where the utterances are")
        for language in self.audio_dirs:
            if language not in self.tables:
                raise UserError(f"--audio_dirs: {language} has no table in --tables")
        tags: dict[str, str] = {}
        for language in self.tables:
            other = tags.setdefault(language_tag(language), language)
            if other != language:
                raise UserError(f"--tables names one language twice: {other}, {language}: give one table of each")


def prepare_aligned(output: Path, config: AlignedConfig) -> None:
    """Write ``manifest.jsonl``: all utterances, with a ``group`` where several languages say the same thing.

    Raises:
        UserError: a bad manifest or table, one language only, a pair of an utterance that there is not, or nothing that
            two languages say.
    """
    spoken = _spoken(output, config)
    if len(spoken) < 2:
        raise UserError(
            f"all utterances are in {', '.join(spoken) or 'no language'}: two languages at least are wanted"
        )
    groups, by = _by_names(spoken) if config.pairs is None else (_by_table(spoken, config.pairs), "ids")
    if not groups:
        raise UserError(
            f"no two utterances of different languages say the same thing: correct their {by}, or give --pairs"
        )
    _join(spoken, groups, config)
    _tell(spoken, groups)
    utterances = _with_unique_ids(spoken)
    write_manifest(utterances, output / "manifest.jsonl")
    if config.test_share:
        _write_parts(utterances, config, output)


def _write_parts(utterances: list[Utterance], config: AlignedConfig, output: Path) -> None:
    """The stories for training and those for tests; what says the same is in one part, in all languages.

    Raises:
        UserError: one of the parts has none.
    """
    units = _units(utterances)
    drawn = {name: is_test(name, config.test_share, config.seed) for name in units}
    if len(set(drawn.values())) < 2:
        raise UserError(
            f"--test_share {config.test_share} keeps {sum(drawn.values())} of {len(drawn)} stories or groups for "
            "tests, and both parts need some: give another --test_share or --seed, or 0"
        )
    for name, tested in ((TRAINING, False), (TEST, True)):
        of_part = [one for one, unit in zip(utterances, units, strict=True) if drawn[unit] == tested]
        write_manifest(of_part, output / f"{name}.jsonl")


def _units(utterances: Sequence[Utterance]) -> list[str]:
    """What each utterance is a test with, or not at all: its document, and those that share a group with it."""
    own = [one.document or one.group or one.id for one in utterances]
    joined = {name: name for name in own}

    def first(name: str) -> str:
        while joined[name] != name:
            joined[name] = name = joined[joined[name]]
        return name

    of_group: dict[str, str] = {}
    for one, name in zip(utterances, own, strict=True):
        if one.group is not None:
            joined[first(name)] = first(of_group.setdefault(one.group, name))
    return [first(name) for name in own]


def _spoken(output: Path, config: AlignedConfig) -> Spoken:
    spoken: Spoken = {}
    manifests = list(config.manifests)
    rejected: list[dict[str, str]] = []
    for language, table in config.tables.items():
        table_config = _table_config(language, table, config)
        folder = output / f".{language_tag(language)}"
        folder.mkdir(parents=True)  # paths of audio lead through it
        prepare_table(folder, table_config)
        manifests.append(str(folder / "manifest.jsonl"))
        if (folder / REJECTED).is_file():
            rejected += [row for _, row in read_json_lines(folder / REJECTED)]
    for manifest in manifests:
        for utterance in read_manifest(manifest):
            told = spoken.setdefault(utterance.language, {})
            if utterance.id in told:
                raise UserError(f"{manifest}: the id {utterance.id!r} of {utterance.language} is in an earlier one too")
            audio = audio_from(output, resolve_audio(manifest, utterance))
            told[utterance.id] = dataclasses.replace(utterance, audio=audio)
    for language in config.tables:
        remove_folder(output / f".{language_tag(language)}")
    if rejected:
        write_json_lines(rejected, output / REJECTED)
    return spoken


def _table_config(language: str, table: str, config: AlignedConfig) -> TableConfig:
    place = Path(table)
    if not place.is_file():
        raise UserError(f"{table}: no such table of {language}; correct --tables")
    beside = place.with_suffix("") if place.suffix != ".gz" else place.with_suffix("").with_suffix("")
    audio = Path(config.audio_dirs.get(language, beside))
    if not audio.is_dir():
        raise UserError(
            f"{audio}: no such folder, for the audio of {table}; --audio_dirs '{{{language}: ...}}' names it"
        )
    return TableConfig(
        audio_dir=str(audio),
        table=table,
        language=language,
        path_template=config.path_template,
        id_column=config.id_column,
        text_column=config.text_column,
        max_rejected_share=1.0,
    )


def _by_names(spoken: Spoken) -> tuple[Groups, str]:
    """The groups that the manifests have, or, where they have none, of the ids that languages share; and which."""
    utterances = [(language, one) for language, told in spoken.items() for one in told.values()]
    has_groups = any(one.group is not None for _, one in utterances)
    groups: Groups = {}
    for language, one in utterances:
        name = one.group if has_groups else one.id
        if name is not None:
            groups.setdefault(name, {}).setdefault(language, []).append(one.id)
    return {name: members for name, members in groups.items() if len(members) > 1}, "groups" if has_groups else "ids"


def _by_table(spoken: Spoken, path: str) -> Groups:
    """The groups of a table, named by the number of the row; those of the manifests are no longer any."""
    suffix = Path(path).suffix.lower()
    if not Path(path).is_file() or suffix not in _DELIMITERS:
        raise UserError(f"{path}: no such table of pairs (.tsv, .csv)")
    rows = read_rows(Path(path), _DELIMITERS[suffix], "auto", [])
    header = next(rows, (0, list[str]()))[1]
    if not header:
        raise UserError(f"{path}: is empty; its header names the languages, and each row ids that say the same thing")
    languages = [language_tag(cell.strip()) for cell in header]
    absent = [language for language in languages if language not in spoken]
    if absent or len(set(languages)) < max(2, len(languages)):
        raise UserError(f"{path}: its header names {', '.join(languages)}; the utterances are in {', '.join(spoken)}")
    groups: Groups = {}
    used: dict[tuple[str, str], int] = {}
    for number, cells in rows:
        where = f"{path}, line {number}"
        if len(cells) != len(languages):
            raise UserError(f"{where}: has {len(cells)} columns, the header {len(languages)}")
        named = {language: cell.strip() for language, cell in zip(languages, cells, strict=True) if cell.strip()}
        for language, name in named.items():
            if name not in spoken[language]:
                raise UserError(f"{where}: no utterance of {language} has the id {name!r}")
            if (language, name) in used:
                raise UserError(f"{where}: {name!r} of {language} stands in line {used[language, name]} too")
            used[language, name] = number
        if len(named) > 1:
            groups[f"{number - 1:06d}"] = {language: [name] for language, name in named.items()}
    return groups


def _join(spoken: Spoken, groups: Groups, config: AlignedConfig) -> None:
    """Write groups, and stories where they are made here, into the utterances."""
    size = config.sentences_per_document
    for told in spoken.values():
        for utterance in told.values():
            utterance.group = None
            if size is not None:
                utterance.document = utterance.place = None
    for name, members in groups.items():
        for one in _members(spoken, members):
            one.group = name
    if size is None:
        return
    first = next(iter(spoken))
    order = {name: number for number, name in enumerate(spoken[first])}
    whole = [members for members in groups.values() if len(members) == len(spoken)]
    whole.sort(key=lambda members: order[members[first][0]])
    for number, members in enumerate(whole):
        for one in _members(spoken, members):
            one.document, one.place = f"story-{number // size:06d}", number % size


def _members(spoken: Spoken, members: Mapping[str, Sequence[str]]) -> Iterator[Utterance]:
    return (spoken[language][own] for language, names in members.items() for own in names)


def _tell(spoken: Spoken, groups: Groups) -> None:
    whole = sum(len(members) == len(spoken) for members in groups.values())
    print(f"{len(groups)} groups, {whole} of them in all of {', '.join(spoken)}")
    for language, told in spoken.items():
        alone = [utterance.id for utterance in told.values() if utterance.group is None]
        outside = sum(utterance.document is None for utterance in told.values())
        without = f", {len(alone)} without a group (as {alone[0]})" if alone else ""
        print(f"{language}: {len(told)} utterances{without}, {outside} in no story")


def _with_unique_ids(spoken: Spoken) -> list[Utterance]:
    """All utterances, language by language; ids that several languages use get the language before them."""
    utterances = [utterance for told in spoken.values() for utterance in told.values()]
    if len({utterance.id for utterance in utterances}) == len(utterances):
        return utterances
    return [dataclasses.replace(one, id=f"{one.language}-{one.id}") for one in utterances]
