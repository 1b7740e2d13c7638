"""What convolutions are computed in while a network learns."""

from __future__ import annotations

from pathlib import Path

_PROCESSOR = Path("/proc/cpuinfo")


def precision(wanted: str) -> str:
    """Return `float32` or `bfloat16`; `auto` is bfloat16 where the processor is faster with it.

    That is where it has AMX, or AVX512_BF16 and is AMD's. Two Intel cores with AVX512_BF16 and without AMX took 1.6
    times as long with bfloat16 for `cnn-large` (docs/decisions/trainer.md).
    """
    if wanted != "auto":
        return wanted
    try:
        words = set(_PROCESSOR.read_text(encoding="utf-8").split())
    except OSError:
        return "float32"
    pays = "amx_bf16" in words or {"avx512_bf16", "AuthenticAMD"} <= words
    return "bfloat16" if pays else "float32"
