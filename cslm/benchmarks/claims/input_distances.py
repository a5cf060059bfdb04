"""How far the vectors of recordings are from the embeddings of their transcripts, for arms of any number of vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio
from cslm.evaluation.scored_model import load_clip
from cslm.files.atomic_file import write_atomically
from cslm.generation.prompt_model import SpeechPromptModel
from cslm.generation.prompt_processor import padded
from cslm.sequences.audio_distillation import transcript_ids, transcript_prompt

_BATCH = 32


@torch.inference_mode()
def input_distances(model: Path, manifest: Path, most_ids: int, kept: Path) -> dict[str, float]:
    """The mean distance over the ids of each recording, by its name: what L_IN is the mean of.

    Args:
        model: folder of a model whose clips all have as many vectors.
        manifest: of recordings.
        most_ids: recordings with longer transcripts are left out, whether they fit the model or not: so models with
            more vectors and fewer are measured on the same ones.
        kept: file of the distances; what is there is not measured again.
    """
    if not kept.is_file():
        opened = SpeechPromptModel.from_pretrained(model)
        fitting = [it for it in read_manifest(manifest) if len(_ids(opened, it)) <= most_ids]
        found = dict[str, float]()
        for start in range(0, len(fitting), _BATCH):
            batch = fitting[start : start + _BATCH]
            clips = [load_clip(it, Path(resolve_audio(manifest, it))) for it in batch]
            waveforms = [opened.processor.waveform(clip) for clip in clips]
            languages = [it.language for it in batch]
            vectors = opened.get_audio_features(**padded(waveforms), languages=languages).vectors
            for utterance, own in zip(batch, vectors, strict=True):
                ids = _ids(opened, utterance)
                said = opened.prompt.llm.get_input_embeddings()(torch.from_numpy(ids.astype(np.int64)))
                found[utterance.id] = float(torch.linalg.vector_norm(own[-len(ids) :] - said, dim=-1).mean())
        write_atomically(kept, json.dumps(found, indent=1).encode())
    distances: dict[str, float] = json.loads(kept.read_bytes())
    return distances


def _ids(model: SpeechPromptModel, utterance: Utterance) -> np.ndarray:
    return transcript_ids(transcript_prompt(model.processor.form, utterance.text, utterance.language))
