"""What the sampled documents of a source hold of recordings: vectors, frames, languages, and what a teacher reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cslm.planning.planned_data import SourcePlan
from cslm.planning.prompt_work import PlannedRow
from cslm.sequences.audio_imitation import TEACHER_IDS, ImitatedClip
from cslm.sequences.hearing import Hearing


@dataclass(frozen=True)
class ClipSample:
    """Of the sample of one source, in which ``tokens`` ids stand."""

    tokens: int
    documents: int
    vectors: Mapping[str, int]
    """places of clips by language"""
    frames: Sequence[int]
    """of each clip, that of the encoder"""
    teacher_lengths: Sequence[int]
    """ids that a teacher reads beside each imitated document"""

    def in_run(self, plan: SourcePlan, count: float) -> float:
        """So many of the sample as so many of the run."""
        return count * plan.run_tokens / max(1, self.tokens)


def clip_sample(plan: SourcePlan, hearing: Hearing) -> ClipSample:
    """What the sample of a source holds; of one that could not be read nothing."""
    vectors: Counter[str] = Counter()
    clips: dict[int, Any] = {}
    for document in plan.sample:
        for placed in document.clips:
            vectors[placed.language] += placed.stop - placed.start
            clips[id(placed.clip)] = placed.clip
    teachers = [len(clip.more()[TEACHER_IDS]) for clip in clips.values() if isinstance(clip, ImitatedClip)]
    frames = [_num_frames(clip, hearing) for clip in clips.values()]
    return ClipSample(sum(map(len, plan.sample)), len(plan.sample), dict(vectors), frames, teachers)


def _num_frames(clip: Any, hearing: Hearing) -> int:
    """Frames of a clip, in whatever it is wrapped; its file is not opened."""
    while hasattr(clip, "clip"):
        clip = clip.clip
    if hasattr(clip, "num_samples"):
        return hearing.num_frames(clip.num_samples)
    return int(clip.store.row(clip.row, ("num_frames",))["num_frames"])


def planned_row(
    micro_batch: tuple[Sequence[int], int], plans: Sequence[SourcePlan], samples: Sequence[ClipSample], most_frames: int
) -> PlannedRow:
    """A full row: clips as often as the sources have them, padded to the longest that so many of them have.

    Args:
        micro_batch: as of :func:`~cslm.planning.planned_data.micro_batch`.
        plans: the sources.
        samples: of each.
        most_frames: of a clip, where a source could not be read.
    """
    lengths, num_targets = micro_batch
    if any(plan.missing for plan in plans):
        return PlannedRow(lengths, num_targets, len(lengths), most_frames)
    pairs = list(zip(plans, samples, strict=True))
    clips = sum(plan.share * len(sample.frames) / max(1, sample.tokens) for plan, sample in pairs) * sum(lengths)
    count = max(1, round(clips))
    frames = np.concatenate([np.asarray(sample.frames, dtype=np.int64) for sample in samples])
    longest = int(np.quantile(frames, count / (count + 1))) if len(frames) else 1
    return PlannedRow(lengths, num_targets, count, max(1, longest))


def vectors_by_language(plans: Iterable[SourcePlan], samples: Iterable[ClipSample]) -> dict[str, int]:
    """Vectors of the run by language."""
    found: Counter[str] = Counter()
    for plan, sample in zip(plans, samples, strict=True):
        for language, count in sample.vectors.items():
            found[language] += round(sample.in_run(plan, count))
    return dict(found)
