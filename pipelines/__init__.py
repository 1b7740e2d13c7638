"""The pipelines: wiring only. What a step does is in `components` and below."""
