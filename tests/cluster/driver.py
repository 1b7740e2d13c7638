"""In the place of KFP's driver: hands out what the test has put on the volume for a task, `drivers.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hyperflow.volume import MOUNT_PATH

NAME = "drivers.json"


def main(words: list[str]) -> None:
    """Write each output that is asked for where Argo reads it."""
    options = dict(zip(words[::2], words[1::2], strict=True))
    found = json.loads((Path(MOUNT_PATH) / NAME).read_text())
    outputs = found[options["--task-name"] or "root"]
    for name, value in outputs.items():
        path = Path(options[f"--{name}-path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)


if __name__ == "__main__":
    main(sys.argv[1:])
