"""The held-out part of every source: never trained, the same whatever the mixture, the order and the filters.

What is held out hangs on what a document is called alone (:mod:`~cslm.batches.parts`). So what two sources have in
common is held out in both of them, and what is added to a corpus moves nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from cslm.batches.order import mix
from cslm.batches.packed_row import PackedRow
from cslm.batches.source_config import Source
from cslm.batches.stream import BatchStream


class HeldOut:
    """Documents to validate on, as rows for every process: some of every source, without noise, the same every time.

    Args:
        sources: opened for the held-out part.
        stream: that trains on the other part; its rows, groups and longest document hold here too.
        max_documents: of every source, evenly spaced.
    """

    def __init__(self, sources: Mapping[str, Source], stream: BatchStream, max_documents: int) -> None:
        self.notes: Counter[str] = Counter()
        self._stream = stream
        self._documents = []
        for name in stream.sources.keys() - sources.keys():
            self.notes[f"validation, {name}: documents, for the held-out share of it is none"] = 0
        for name, source in sources.items():
            count = min(max_documents, source.num_documents)
            for place in np.linspace(0, source.num_documents - 1, count).round().astype(int).tolist():
                document = source.clean_sequence(place, mix(stream.seed, place))
                fitted = stream.fit(document, place) if stream.knows(document) else None
                if fitted is None:
                    self.notes[f"validation, {name}: left out, too long or in a language that is not trained"] += 1
                else:
                    self._documents.append(fitted)

    def __len__(self) -> int:
        return len(self._documents)

    def rows(self, rank: int = 0, world_size: int = 1) -> list[PackedRow]:
        """The rows of one process, as :meth:`BatchStream.step` gives them; as many for every process."""
        lengths = [len(document) for document in self._documents]
        rows = self._stream.arranged(lengths, world_size)
        return [self._stream.row([self._documents[index] for index in row]) for row in rows[rank::world_size]]
