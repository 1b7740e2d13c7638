"""What a section leaves: its rows, with the date, the machine, the versions and the command that made them."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("hyperflow", "tensorflow-cpu", "keras", "optuna", "keras-tuner", "kfp", "kserve", "onnxruntime", "numpy")
DATE = "%Y-%m-%d %H:%M UTC"
Row = dict[str, Any]


def write(section: str, rows: list[Row], command: list[str], quick: bool, folder: Path, **more: Any) -> Path:
    """Write a section's record, whole or not at all."""
    record = {
        "section": section, "date": datetime.now(UTC).strftime(DATE), "command": command,
        "quick": quick, "machine": machine(), "versions": versions(), **more, "rows": rows,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{section}.json"
    half = path.with_suffix(".part")
    half.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    half.replace(path)
    return path


def is_younger(section: str, hours: float, quick: bool, folder: Path) -> bool:
    """Tell whether a record of the same kind is there that need not be made again."""
    path = folder / f"{section}.json"
    if not path.exists():
        return False
    record = json.loads(path.read_text(encoding="utf-8"))
    age = datetime.now(UTC) - datetime.strptime(record["date"], DATE).replace(tzinfo=UTC)
    return bool(record["quick"] == quick and age < timedelta(hours=hours))


def machine() -> Row:
    """Say what this machine is: its processor, the cores that may be used, memory, and how busy it was."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    known = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {
        "processor": known.get("model name", "unknown"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "bfloat16": sorted({"amx_bf16", "avx512_bf16"} & set(known.get("flags", "").split())),
        "load": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Return the versions of what is compared, as far as it is installed here."""
    installed = {each.name.lower().replace("_", "-"): each.version for each in metadata.distributions() if each.name}
    return {name: installed[name] for name in PACKAGES if name in installed}
