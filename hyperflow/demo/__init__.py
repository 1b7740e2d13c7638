"""A page to try a served model: pick a test image, draw one or upload one.

    page        what is on the page and what its parts do
    server      the page's web server: the few routes it needs, nothing from or to elsewhere
    pictures    turns what visitors send into what the model saw in training
    gallery     labelled test images to pick from
    predictor   asks the model, within a time limit
    views       HTML

Nothing that a visitor sends is stored, and no visitor can say which address is asked.
"""

from __future__ import annotations

from hyperflow.demo.server import main

__all__ = ["main"]
