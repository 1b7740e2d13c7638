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
        model_name: The model's and the service's name, 1 to 40 of a-z, 0-9 and -.
        accuracy_floor: Least accuracy on the test set, 0 to 1; a model below it is not deployed, and the run says so.
        significance: Largest probability that the new model's lead over the one now serving is chance, 0 to 1.
        force: Whether to deploy the new model whatever the comparison says; the verdict records it.
        turn_timeout: Seconds to wait for another run that changes the service, up to 3000; 0 refuses at once.
        verdict: The answer, its reason and the numbers.

    Returns:
        `deploy` or `skip`.
    """
    from hyperflow import steps
    from hyperflow.parameters import Parameters
    from hyperflow.specs import ModelRef
    from hyperflow.steps import release

    with steps.step("decide", run_id) as step:
        candidate = ModelRef(model_path, step.run_id, accuracy, data_digest, best_parameters)
        parameters = Parameters(
            model_name=model_name, accuracy_floor=accuracy_floor, significance=significance, force=force,
            turn_timeout=turn_timeout,
        )  # fmt: skip
        decision, text = release.decide(step, parameters, candidate, data_path)
    with open(verdict.path, "w") as file:
        file.write(text)
    return "deploy" if decision.deploy else "skip"
