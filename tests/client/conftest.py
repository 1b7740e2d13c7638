"""A predictor to ask, as the predictor's own tests have it."""

from tests.serving.predictor import model_dir, predictor

__all__ = ["model_dir", "predictor"]
