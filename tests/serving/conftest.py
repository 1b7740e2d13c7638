"""The fixtures of the predictor's tests."""

from tests.serving.predictor import expected, images, model_dir, predictor

__all__ = ["expected", "images", "model_dir", "predictor"]
