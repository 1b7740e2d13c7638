"""Put the verified data set on the volume."""

from __future__ import annotations

from hyperflow import datasets
from hyperflow.parameters import Parameters
from hyperflow.steps.context import Step
from hyperflow.volume import records


def run(current: Step, parameters: Parameters) -> datasets.Dataset:
    """Find the data set, check it and keep it; once it is there, only check it."""
    dataset = datasets.load(parameters.data_source, parameters.dataset)
    current.keep(records.LoadData(dataset=dataset))
    form = " × ".join(map(str, dataset.shape))
    counts = f"{dataset.train_count} training and {dataset.test_count} test images of {form}"
    current.say(f"{dataset.name}: {counts} at {dataset.path}")
    return dataset
