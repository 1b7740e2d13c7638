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
        about: What was loaded.

    Returns:
        data_path: Folder of the verified data set on the volume.
        digest: Digest of its contents.
    """
    given = dict(locals())
    from typing import NamedTuple

    from hyperflow.parameters import Parameters
    from hyperflow.steps import begin, load_data

    with begin("load_data", run_id) as step:
        loaded = load_data.run(step, Parameters.among(given))
    about.metadata.update(
        name=loaded.name, path=loaded.path, digest=loaded.digest, train_count=loaded.train_count,
        test_count=loaded.test_count,
    )  # fmt: skip
    outputs = NamedTuple("outputs", [("data_path", str), ("digest", str)])
    return outputs(loaded.path, loaded.digest)
