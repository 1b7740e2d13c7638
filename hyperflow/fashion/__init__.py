"""The program that trials and training jobs run: `python -m hyperflow.fashion.train`.

arguments   argv to a frozen value
cluster     TF_CONFIG to a role and a strategy
network     the models, from raw pixels to probabilities
learning    the training step, the epoch and the evaluation
checkpoint  what a restart goes on from
scores      test results as data
export      the SavedModel
train       main
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
