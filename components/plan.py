"""Plan: whether a recurring run has anything to do, and whether it has to tune again."""

from kfp import dsl

from components import component


@component
def plan(
    run_id: str,
    data_path: str,
    claim: str,
    model_name: str,
    trainer_image: str,
    trainer_command: list,
    trainer_arguments: dict,
    tune_timeout: int,
    epochs: int,
    workers: int,
    parameter_servers: int,
    train_timeout: int,
    force: bool,
    deploy_timeout: int,
    best_parameters: dict,
    retune_every: int,
    retune_accuracy_drop: float,
    retune_drift: float,
    keep_models: int,
    keep_runs: int,
    metrics: dsl.Output[dsl.Metrics],
    reason: dsl.Output[dsl.HTML],
    known_parameters: dsl.OutputPath(dict),
) -> str:
    """Tidy the volume, see how the serving model does, and decide what there is to do.

    Args:
        run_id: The run's id.
        data_path: Folder of the verified data set.
        metrics: The serving model's accuracy on this test set, and the drift of its answers.
        reason: What is to be done, and why.
        known_parameters: The hyper-parameters to train with, unless new ones are searched for.

    Returns:
        `skip`, `train` with the known hyper-parameters, or `tune` first.
    """
    given = dict(locals())
    import json

    from hyperflow.parameters import Parameters
    from hyperflow.steps import begin, plan

    with begin("plan", run_id) as step:
        made, figures = plan.run(step, Parameters.among(given), data_path, reason.path)
    for name, value in figures.items():
        metrics.log_metric(name, value)
    with open(known_parameters, "w") as file:
        json.dump(dict(made.parameters), file)
    return made.action
