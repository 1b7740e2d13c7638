"""Decide: whether the new model deserves to be served."""

from kfp import dsl

from components import component


@component
def decide(
    run_id: str,
    data_path: str,
    data_digest: str,
    best_parameters: dict,
    model_path: str,
    accuracy: float,
    model_name: str,
    accuracy_floor: float,
    significance: float,
    force: bool,
    turn_timeout: int,
    approval: str,
    approval_timeout: int,
    verdict: dsl.Output[dsl.Markdown],
) -> str:
    """Compare the new model with a floor and, on the same test images, with the model now serving.

    Args:
        run_id: The run's id.
        data_path: Folder of the verified data set.
        data_digest: Digest of the data set the model was trained on.
        best_parameters: The hyper-parameters it was trained with.
        model_path: Its folder on the volume.
        accuracy: Its accuracy on the test set, 0 to 1.
        verdict: The answer, its reason and the numbers.

    Returns:
        `deploy` or `skip`.
    """
    given = dict(locals())
    from hyperflow.parameters import Parameters
    from hyperflow.specs import ModelRef
    from hyperflow.steps import begin, decide

    with begin("decide", run_id) as step:
        candidate = ModelRef(model_path, step.run_id, accuracy, data_digest, best_parameters)
        decision, text = decide.run(step, Parameters.among(given), candidate, data_path)
    with open(verdict.path, "w") as file:
        file.write(text)
    return "deploy" if decision.deploy else "skip"
