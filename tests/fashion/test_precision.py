"""bfloat16 where it pays, and where it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperflow.fashion import precision

WITHOUT, AVX, AMX = "fma avx512f", "fma avx512f avx512_bf16", "fma avx512f avx512_bf16 amx_bf16 amx_tile"


@pytest.mark.parametrize(
    ("maker", "flags", "chosen"),
    [
        ("GenuineIntel", WITHOUT, "float32"),
        ("GenuineIntel", AVX, "float32"),
        ("GenuineIntel", AMX, "bfloat16"),
        ("AuthenticAMD", WITHOUT, "float32"),
        ("AuthenticAMD", AVX, "bfloat16"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_is_faster_with_it(
    maker: str, flags: str, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"vendor_id\t: {maker}\nmodel name\t: a processor\nflags\t\t: {flags}\n")
    monkeypatch.setattr(precision, "_PROCESSOR", file)
    assert precision.precision("auto") == chosen
    assert precision.precision("float32") == "float32"
    assert precision.precision("bfloat16") == "bfloat16"


def test_processor_that_cannot_be_read_gets_what_all_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_PROCESSOR", tmp_path / "none")
    assert precision.precision("auto") == "float32"
