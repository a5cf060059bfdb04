"""The commands of pages that the tests do not run, each with the reason and with what runs in its place.

A key is a pattern (fnmatch) of the whole command, its words joined by single spaces.
"""

from __future__ import annotations

NOT_RUN = {
    # what changes the machine, needs a network, or runs the tests themselves
    "python3 -m venv *": "makes an environment: tests/test_packaging.py makes one and installs into it",
    "source .venv/bin/activate": "makes an environment: tests/test_packaging.py",
    "pip install *": "needs a package index",
    "curl -LO *": "needs a network",
    "hf auth login": "needs an account",
    "bash tools/test.sh*": "runs the tests: tests/tools/test_quickstart.py has it run pretended ones",
    ".venv-test/latest/bin/python -m pytest *": "runs the tests",
    "pkill *": "ends processes: tests/training/test_resume.py sends the signal to one of its own",
    "cslm serve *": "runs until it is stopped: tests/serving",
    # what takes minutes or more
    "bash tools/quickstart.sh*": "39 minutes: tests/tools/test_quickstart.py and tests/recipes walk through its stages",
    "bash recipes/spoken_digits/run.sh *": "7 minutes and human recordings: tests/corpora/test_spoken_digits.py",
    "python recipes/village/claims.py *": "an hour: tests/benchmarks/claims run it on stages that are there",
    "* runs/bounded*": "the quickstart's stages with another tokenizer: tests/recipes/test_recipes.py",
    "*runs/turns*": "the quickstart's stages with more dialogues: tests/village/test_turn_dialogues.py",
    "python tools/bench_*": "a measurement: tests/benchmarks, and its options are checked here",
    "deepspeed --num_gpus 8 tools/bench_mfu.py *": "needs eight GPUs: tests/benchmarks/test_model_speed.py",
    # what needs more than one machine, or weights that are downloaded
    "deepspeed --hostfile *": "needs other machines: tests/recipes/test_multi_node.py",
    "sbatch *": "needs Slurm: tests/recipes/test_multi_node.py runs the script with stand-ins",
    "python tools/tokenize_corpus.py * --engine ray *": "needs a cluster: tests/units/test_tokenize_workers.py",
    "cslm convert-kmeans hubert_*": "its file is downloaded: tests/codecs/test_convert_kmeans.py",
    "cslm fit-tokenizer * --family ssl_kmeans *": "weights of the Hub: tests/codecs/test_ssl_kmeans.py",
    "*recipes/language_aware_distillation/*": "parts of the Hub: tests/recipes/test_language_aware_distillation.py",
    "cslm make-teacher-states *": "a model of the Hub: tests/synthesis/test_make_teacher_states.py",
    "cslm prepare-corpus heard *": "a model of the Hub: tests/synthesis/test_spoken_test_sets.py",
    "cslm prepare-corpus audio_mlqa *": "data of the Hub: tests/synthesis/test_spoken_test_sets.py",
    "cslm respond DATA/lad *": "a model of that run: tests/generation/test_prompt_model.py",
    "cslm gate-report *": "a model of that run: tests/evaluation/test_gate_report.py",
    "cslm train-recognizer *": "a corpus: tests/training/test_train_recognizer.py, and its options are checked here",
    "*recipes/behaviour_imitation/*": "parts of the Hub: tests/recipes/test_behaviour_imitation.py, with small ones",
    "cslm make-targets *": "a lab's data and a large model: tests/synthesis/test_make_targets.py",
    "*recipes/speech_prompt/*": "parts of the Hub: tests/recipes/test_speech_prompt.py runs it with small ones",
    "cslm make-frames DATA/*": "weights of the Hub: tests/units/test_make_frames.py",
    "cslm * DATA/prompt *": "a model of that run: tests/generation/test_prompt_model.py",
    "cslm * recipes/xs_cot/*": "a base of the Hub and a lab's data: tests/recipes/test_xs_cot.py",
    "cslm tokenize-corpus DATA/*": "a lab's data: tests/units/test_tokenize_corpus.py",
    "hf download *": "needs a network: tests/corpora/test_four_texts.py writes such files",
    "cslm prepare-corpus * --translator.seq2seq.model *": "weights of the Hub and a server: tests/synthesis/",
    "for checkpoint in *": "needs lm-evaluation-harness: tests/recipes/test_forgetting.py, where it is installed",
}
