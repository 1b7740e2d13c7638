"""What every command has in common."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("kfp", "kubernetes", "matplotlib", "optuna", "scipy", "sqlalchemy", "tensorflow")


def test_a_command_starts_without_what_only_others_need() -> None:
    code = f"import sys, hyperflow.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"
