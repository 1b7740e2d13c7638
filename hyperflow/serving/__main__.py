"""Run the predictor: `python -m hyperflow.serving --model_name NAME --model_dir DIR`."""

from __future__ import annotations

import sys

from hyperflow.serving.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
