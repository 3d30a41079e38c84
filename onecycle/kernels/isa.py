"""The newest instruction set that oneDNN may use, from the variables that it reads. No torch."""

import os
from collections.abc import Mapping

VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""The second, older name counts if the first is not set, or empty."""

BELOW_AMX = frozenset(
    """
    sse41 avx avx2 avx2_vnni avx2_vnni_2 avx512_core avx512_core_vnni avx512_core_bf16
    avx512_core_fp16 avx10_1_512 avx10_2_512 avx10_1 avx10_2
    """.split()
)
"""The values, in lower or upper case, that exclude AMX. oneDNN ignores unknown values."""


def without_amx(environment: Mapping[str, str] = os.environ) -> str | None:
    """The variable with which the user has switched AMX off, or None."""
    for variable in VARIABLES:
        if value := environment.get(variable):
            return variable if value.lower() in BELOW_AMX else None
    return None
