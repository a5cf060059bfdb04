"""A plan as a page of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cslm.batches.accounts import account_lines

_PARTS = ("weights", "masters", "optimizer", "gradients", "buffers", "activations", "logits", "update")


def print_plan(found: dict[str, Any], zero_stage: int, gpu_memory_gib: float | None) -> None:
    """Print what :func:`~cslm.planning.plan.plan` found; an asterisk marks the configured stage."""
    print(f"run: {found['steps']:,} steps, {found['tokens']:,} tokens at most\n")
    print(_table(["source", "task", "share", "of the run", "documents", "tokens", "epochs", "too long"],
                 [_source_row(source) for source in found["sources"]]))  # fmt: skip
    for line in (*account_lines(found["accounts"]), *found["told"]):
        print(line)
    new = f", {found['new_parameters']:,} of them in {found['new_rows']:,} new rows" if found["new_rows"] else ""
    frozen = found["parameters"] - found["trained_parameters"]
    learns = f"; {found['trained_parameters']:,} learn" if frozen else ""
    print(f"\nmodel: {found['parameters']:,} parameters{new}{learns}")
    print(_memory_table(found["memory"], zero_stage, gpu_memory_gib))
    disk = {name: _gib(size) for name, size in found["disk"].items()}
    print(
        f"\ndisk: {disk['checkpoint']} GiB a checkpoint to resume from, {disk['kept']} GiB for those that are kept, "
        f"{disk['model']} GiB for the model, {disk['most']} GiB at most while one is replaced"
    )
    if found["flops"] is not None:
        hours = "give peak_tflops for hours" if found["hours"] is None else f"{found['hours']:,.1f} hours"
        print(f"time: {found['flops']:.3g} operations of the model; {hours}")
    for note in found["notes"]:
        print(f"not counted: {note}")


def print_prompt_plan(found: dict[str, Any], zero_stage: int, gpu_memory_gib: float | None) -> None:
    """Print what :func:`~cslm.planning.plan_prompt.plan_prompt` found; an asterisk marks the configured stage."""
    print(f"run: {found['steps']:,} steps, {found['tokens']:,} tokens at most\n")
    heads = ["source", "task", "share", "of the run", "documents", "tokens", "epochs", "too long", "vectors", "hours"]
    rows = [
        [*_source_row(source), f"{source['run_vectors']:,}", f"{source['run_audio_hours']:,.1f}"]
        for source in found["sources"]
    ]
    print(_table(heads, rows))
    for line in (*account_lines(found["accounts"]), _by_language(found["vectors"]), *found["told"]):
        print(line)
    parts = ", ".join(f"{name} {count:,}" for name, count in found["parts"].items() if count)
    print(f"\nmodel: {found['parameters']:,} parameters ({parts}); {found['trained_parameters']:,} learn")
    memory = found["memory"]
    print(
        f"a full row has {memory['clips']:,} recordings of at most {memory['frames']:,} frames; of the weights "
        f"{_gib(memory['encoder'])} GiB are the encoder's, in float32 on every process"
    )
    print(_memory_table(memory, zero_stage, gpu_memory_gib))
    disk = {name: _size(size) for name, size in found["disk"].items()}
    print(
        f"\ndisk, the trained part alone: {disk['checkpoint']} a checkpoint to resume from, {disk['kept']} for those "
        f"that are kept, {disk['model']} for the model, {disk['most']} at most while one is replaced"
    )
    for store in found["stores"]:
        size = _size(store["bytes"]) if store["made"] else f"about {_size(store['bytes'])}, if it is made"
        print(f"store of {store['kind']} ({store['source']}): {store['rows']:,} rows, {size}")
    if found["flops"] is not None:
        hours = "give peak_tflops for hours" if found["hours"] is None else f"{found['hours']:,.1f} hours"
        parts = ", ".join(f"{name} {count:.3g}" for name, count in found["flops"].items() if count)
        print(f"time: {sum(found['flops'].values()):.3g} operations ({parts}); {hours}")
    for note in found["notes"]:
        print(f"not counted: {note}")


def _by_language(vectors: dict[str, int]) -> str:
    parts = [f"{language or 'no language'} {count:,}" for language, count in sorted(vectors.items())]
    return f"vectors: {sum(vectors.values()):,}{'; ' if parts else ''}{', '.join(parts)}"


def _size(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB" if size < 2**30 else f"{_gib(size)} GiB"


def _source_row(source: dict[str, Any]) -> list[str]:
    epochs = "?" if source["epochs"] is None else f"{source['epochs']:,.2f}"
    counts = ["?" if source[name] is None else f"{source[name]:,}" for name in ("documents", "tokens")]
    too_long = "?" if source["tokens"] is None else f"{source['too_long']:.1%}"
    share = [f"{source['share']:.1%}", f"{source['run_tokens']:,}"]
    return [source["name"], source["task"], *share, *counts, epochs, too_long]


def _memory_table(memory: dict[str, Any], zero_stage: int, gpu_memory_gib: float | None) -> str:
    rows = []
    hosts = any(stage["host"] for stage in memory["stages"])
    for stage in memory["stages"]:
        mark = "*" if stage["stage"] == zero_stage else ""
        fits = [] if stage["fits"] is None else ["yes" if stage["fits"] else "no"]
        name = [f"{stage['stage']}{mark}", "yes" if stage["checkpointing"] else "no"]
        parts = [_gib(stage[part]) for part in (*_PARTS, "peak", *(["host"] if hosts else []))]
        rows.append([*name, *parts, *fits])
    fits = [] if gpu_memory_gib is None else [f"fits {gpu_memory_gib:g}"]
    title = (
        f"GiB of one process; a full row has {memory['tokens']:,} tokens, {memory['targets']:,} of them trained. "
        "peak = weights + masters + optimizer\n"
        "+ the larger of (gradients + buffers + activations + logits) and update"
    )
    if hosts:
        title += "; host: what training.device.deepspeed offloads to the memory of the CPU"
    return f"{title}\n" + _table(["ZeRO", "checkpointing", *_PARTS, "peak", *(["host"] if hosts else []), *fits], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest cell, all but the first to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" if not column else f"{cell:>{width}}"
                  for column, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )  # fmt: skip


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f}" if size < 10 * 2**30 else f"{size / 2**30:,.1f}"
