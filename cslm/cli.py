"""The console command: ``cslm VERB ...`` does what the script of that verb in ``tools/`` or ``recipes/`` does."""

from __future__ import annotations

import importlib
import sys

import cslm
from cslm.errors import UserError, exit_with_status
from cslm.mistyped import meant

# verb -> (module whose ``main`` runs it, what it does). The modules are imported only when used.
VERBS = {
    "prepare-corpus": ("cslm.synthesis.prepare_corpus", "make a corpus and its manifests"),
    "fit-tokenizer": ("cslm.codecs.fit_tokenizer", "fit a speech tokenizer and write its card"),
    "tokenize-corpus": ("cslm.units.tokenize_corpus", "turn the audio of manifests into a unit store"),
    "make-teacher-states": (
        "cslm.synthesis.make_teacher_states",
        "states of a frozen model on transcripts, to teach by",
    ),
    "make-targets": ("cslm.synthesis.make_targets", "answer transcripts by a frozen language model, to be imitated"),
    "check-tokenizer": ("cslm.codecs.check_tokenizer", "measure how far units depend on batches, order and threads"),
    "convert-kmeans": ("cslm.codecs.convert_kmeans", "put published centroids beside a card"),
    "import-units": ("cslm.units.import_units", "units of other tools, in JSON Lines, as a unit store"),
    "export-units": ("cslm.units.export_units", "a unit store as JSON Lines with unit strings"),
    "take-codebooks": ("cslm.units.take_codebooks", "the first codebooks of a store that holds more"),
    "verify": ("cslm.units.verify", "read a unit store again and say what is wrong with it"),
    "show": ("cslm.units.show", "show what is in a unit store, or one utterance of it"),
    "inspect": ("cslm.planning.inspect_sequences", "show documents as the model reads them in training"),
    "lr-find": ("cslm.planning.lr_find", "try rising learning rates on a run's data and suggest one"),
    "pretrain": ("cslm.training.pretrain", "pre-train a language model on text, on speech and on both interleaved"),
    "finetune": ("cslm.training.finetune", "teach a pre-trained model to answer speech with speech"),
    "plan": ("cslm.planning.plan", "say what a run will need, before it is started"),
    "train-recognizer": ("cslm.training.train_recognizer", "train a small speech recognizer from nothing"),
    "train-decoder": ("cslm.training.train_decoder", "train the decoder from units to a waveform"),
    "make-frames": ("cslm.units.make_frames", "what a frozen encoder makes of recordings, once, for train-prompt"),
    "train-prompt": ("cslm.training.train_prompt", "train a connector that lets a frozen language model hear"),
    "merge": ("cslm.model.speech_prompt.merge", "put a connector and what is frozen around it into one folder"),
    "respond": ("cslm.generation.respond", "answer one spoken question"),
    "serve": ("cslm.serving.serve", "talk to a checkpoint: a page, and OpenAI's protocols"),
    "continue-speech": ("cslm.generation.continue_speech", "go on from a recording, with a textless model"),
    "score": ("cslm.evaluation.score", "score a checkpoint"),
    "gate-report": ("cslm.evaluation.gate_report", "which language the gate of a query bank hears"),
    "compare-pairs": ("cslm.evaluation.compare_pairs", "compare two checkpoints on the same pairs"),
    "judge": ("cslm.evaluation.judge", "judge replies in a file, of any system"),
    "report": ("cslm.publishing.report", "write the report of a run as one page"),
    "export-dataset": ("cslm.publishing.export_dataset", "write a corpus as a data set with a card"),
    "push-to-hub": ("cslm.publishing.push_to_hub", "put a checkpoint or a data set on the Hub, with its card"),
}


def run(arguments: list[str] | None = None) -> None:
    """Run ``cslm VERB ...`` and set the exit status: 0 done, 2 the user can mend it, 1 the machine failed."""
    given = sys.argv[1:] if arguments is None else arguments
    exit_with_status(lambda: dispatch(given))


def dispatch(arguments: list[str]) -> None:
    """Call the ``main`` of the verb that comes first; ``-h``, ``--help`` and ``--version`` answer here.

    Raises:
        UserError: no verb, or one that does not exist.
    """
    verb = arguments[0].replace("_", "-") if arguments else "--help"
    if verb in ("-h", "--help"):
        print(usage())
    elif verb == "--version":
        print(f"cslm {cslm.__version__}")
    elif verb in VERBS:
        importlib.import_module(VERBS[verb][0]).main(arguments[1:])
    else:
        raise UserError(
            f"cslm: there is no verb {arguments[0]!r}{meant(verb, VERBS)}: choose one of {', '.join(VERBS)}"
        )


def usage() -> str:
    """The verbs, a line each."""
    width = max(len(verb) for verb in VERBS)
    lines = [f"  {verb:<{width}}  {sentence}" for verb, (_, sentence) in VERBS.items()]
    return "\n".join(["usage: cslm VERB ...", "", *lines, "", "`cslm VERB --help` lists what a verb can be told."])
