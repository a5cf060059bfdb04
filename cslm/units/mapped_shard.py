"""One shard of an unpacked store in memory-mapped arrays: a row is made when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cslm.codecs.units import Units
from cslm.corpora.word_times import Word
from cslm.units.shards import StoreRow


class _Strings:
    """A mapped column of strings; a string is made when it is asked for, which takes half a microsecond."""

    def __init__(self, column: pa.Array) -> None:
        assert column.offset == 0, "a column that is a slice of another"
        _, offsets, data = column.buffers()
        self._offsets = np.frombuffer(offsets, np.int32) if offsets else np.zeros(len(column) + 1, np.int32)
        self._data = memoryview(data) if data else memoryview(b"")
        self._missing = frozenset(np.flatnonzero(~column.is_valid().to_numpy(zero_copy_only=False)).tolist())

    def __getitem__(self, i: int) -> str | None:
        return None if i in self._missing else self.known(i)

    def known(self, i: int) -> str:
        """The string ``i`` of a column without gaps."""
        return str(self._data[self._offsets[i] : self._offsets[i + 1]], "utf-8")


def places(column: pa.Array) -> NDArray[np.int64]:
    """Places in documents as an array (num_utterances,), -1 where there is none."""
    filled: NDArray[np.int64] = column.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return filled


@dataclass(frozen=True)
class MappedShard:
    """The columns of one shard."""

    strings: dict[str, _Strings]
    duration_sec: NDArray[np.float64]
    num_codebooks: NDArray[np.int8]
    units: tuple[NDArray[Any], NDArray[Any]]  # offsets, values
    durations: tuple[NDArray[Any], NDArray[Any]]
    has_words: NDArray[np.bool_]
    words: tuple[NDArray[Any], _Strings, NDArray[Any], NDArray[Any]]  # offsets, words, start_sec, end_sec
    place: NDArray[np.int64]  # -1 where there is none; empty in a store without documents

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> MappedShard:
        """The shard in a record batch of the unpacked store."""
        columns = {name: batch.column(name) for name in batch.schema.names}
        words = columns["words"]
        word, start_sec, end_sec = (words.values.field(name) for name in ("word", "start_sec", "end_sec"))
        names = ("id", "language", "speaker", "group", "text", *(["document"] if "document" in columns else []))
        return cls(
            strings={name: _Strings(columns[name]) for name in names},
            duration_sec=columns["duration_sec"].to_numpy(),
            num_codebooks=columns["num_codebooks"].to_numpy(),
            units=(columns["units"].offsets.to_numpy(), columns["units"].values.to_numpy()),
            durations=(columns["durations"].offsets.to_numpy(), columns["durations"].values.to_numpy()),
            has_words=words.is_valid().to_numpy(zero_copy_only=False),
            words=(words.offsets.to_numpy(), _Strings(word), start_sec.to_numpy(), end_sec.to_numpy()),
            place=places(columns["place"]) if "place" in columns else np.zeros(0, np.int64),
        )

    def row(self, i: int, with_words: bool) -> StoreRow:
        """The utterance ``i`` of the shard."""
        num_codebooks = int(self.num_codebooks[i])
        offsets, flat = self.units
        ids = flat[offsets[i] : offsets[i + 1]].astype(np.int64).reshape(-1, num_codebooks)
        offsets, flat = self.durations
        durations = flat[offsets[i] : offsets[i + 1]].astype(np.int64) if num_codebooks == 1 else None
        return StoreRow(
            id=self.strings["id"].known(i),
            language=self.strings["language"].known(i),
            text=self.strings["text"].known(i),
            duration_sec=float(self.duration_sec[i]),
            units=Units(ids, durations),
            speaker=self.strings["speaker"][i],
            group=self.strings["group"][i],
            words=self._words(i) if with_words and self.has_words[i] else None,
            document=self.strings["document"][i] if "document" in self.strings else None,
            place=int(self.place[i]) if len(self.place) and self.place[i] >= 0 else None,
        )

    def _words(self, i: int) -> list[Word]:
        offsets, word, start_sec, end_sec = self.words
        first, stop = int(offsets[i]), int(offsets[i + 1])
        said = map(word.known, range(first, stop))
        return list(zip(said, start_sec[first:stop].tolist(), end_sec[first:stop].tolist(), strict=True))
