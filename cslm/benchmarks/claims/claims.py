"""The claims that there are."""

from __future__ import annotations

import importlib

from cslm.benchmarks.claims.claim import Claim
from cslm.errors import UserError

# Name of a claim -> "module:Claim". Imported only when used.
CLAIMS = {
    "xli_cross": "cslm.benchmarks.claims.xli:CROSS",
    "xli_mono": "cslm.benchmarks.claims.xli:MONO",
    "xli_alignment": "cslm.benchmarks.claims.xli:ALIGNMENT",
    "xs_cot_gain": "cslm.benchmarks.claims.xs_cot:GAIN",
    "xs_cot_delay": "cslm.benchmarks.claims.xs_cot:DELAY",
    "xs_cot_little_data": "cslm.benchmarks.claims.xs_cot:LITTLE_DATA",
    "lad_bank": "cslm.benchmarks.claims.lad:BANK_CLAIM",
    "lad_interference": "cslm.benchmarks.claims.lad:INTERFERENCE",
    "lad_gate": "cslm.benchmarks.claims.lad:GATE",
    "lad_queries": "cslm.benchmarks.claims.lad:QUERIES_CLAIM",
    "mtbi_prompts": "cslm.benchmarks.claims.mtbi:PROMPTS",
    "mtbi_tasks": "cslm.benchmarks.claims.mtbi:TASKS_CLAIM",
    "mtbi_interleaving": "cslm.benchmarks.claims.mtbi:INTERLEAVING",
    "mtbi_less_data": "cslm.benchmarks.claims.mtbi:LESS_DATA",
    "mtbi_cascade": "cslm.benchmarks.claims.mtbi:CASCADE_CLAIM",
    "xs_cot_prompt": "cslm.benchmarks.claims.xs_cot_prompt:CHAIN",
}


def claim_of(name: str) -> Claim:
    """The claim of a name, imported now.

    Raises:
        UserError: there is none.
    """
    if name not in CLAIMS:
        raise UserError(f"there is no claim {name!r}: choose one of {', '.join(CLAIMS)}")
    module, _, attribute = CLAIMS[name].partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, Claim)
    return found
