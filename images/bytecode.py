"""Import modules and keep the bytecode of all that came with them: `python bytecode.py MODULE…`.

A whole environment's bytecode is as large as its source, and a step imports a third of it. The
files never change again, so Python need not compare them with their source at each start.
"""

from __future__ import annotations

import importlib
import py_compile
import sys
from pathlib import Path


def main(names: list[str]) -> None:
    """Import the modules and compile every file of this environment that was read."""
    for name in names:
        importlib.import_module(name)
    paths = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    for path in sorted(paths):
        if path.endswith(".py") and Path(path).is_relative_to(sys.prefix):
            py_compile.compile(path, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


if __name__ == "__main__":
    main(sys.argv[1:])
