"""Load data: find the data set, verify it and put it on the volume, once."""

from typing import NamedTuple

from kfp import dsl

from components import component


@component
def load_data(
    run_id: str,
    data_source: str,
    dataset: str,
    about: dsl.Output[dsl.Dataset],
) -> NamedTuple("Outputs", [("data_path", str), ("digest", str)]):
    """Find the data set, verify it and put it on the volume, once.

    Args:
        run_id: The run's id.
        data_source: Where the data set is: a folder, or any URL fsspec reads, with the four IDX files; `auto` looks in
            the cache, the system package's folder and the official address.
        dataset: The data set's name; `fashion-mnist` is checked against its published digests, any other name has its
            own.
        about: What was loaded.

    Returns:
        data_path: Folder of the verified data set on the volume.
        digest: Digest of its contents.
    """
    from typing import NamedTuple

    from hyperflow import steps
    from hyperflow.parameters import Parameters

    with steps.step("load_data", run_id) as step:
        loaded = steps.load_data(step, Parameters(data_source=data_source, dataset=dataset))
    about.metadata.update(
        name=loaded.name, digest=loaded.digest, train_count=loaded.train_count, test_count=loaded.test_count
    )
    outputs = NamedTuple("Outputs", [("data_path", str), ("digest", str)])
    return outputs(loaded.path, loaded.digest)
