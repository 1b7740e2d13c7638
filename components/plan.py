"""Plan: whether a recurring run has anything to do, and whether it has to tune again."""

from kfp import dsl

from components import component


@component
def plan(
    run_id: str,
    data_path: str,
    metrics: dsl.Output[dsl.Metrics],
    reason: dsl.Output[dsl.HTML],
    known_parameters: dsl.OutputPath(dict),
) -> str:
    """Tidy the volume, see how the serving model does, and decide what there is to do.

    What the run was asked for it reads from the volume, where `check` has kept it.

    Args:
        run_id: The run's id.
        data_path: Folder of the verified data set.
        metrics: The serving model's accuracy on this test set, and the drift of its answers and of what it is sent.
        reason: What is to be done, and why.
        known_parameters: The hyper-parameters to train with, unless new ones are searched for.

    Returns:
        `skip`, `train` with the known hyper-parameters, or `tune` first.
    """
    import json

    from hyperflow.steps import begin, plan

    with begin("plan", run_id) as step:
        made, figures = plan.run(step, step.asked(), data_path, reason.path)
    for name, value in figures.items():
        metrics.log_metric(name, value)
    with open(known_parameters, "w") as file:
        json.dump(dict(made.parameters), file)
    return made.action
