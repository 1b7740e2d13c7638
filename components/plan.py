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
        claim: The ReadWriteMany volume claim that every step and job mounts.
        model_name: The model's and the service's name, 1 to 40 of a-z, 0-9 and -.
        trainer_image: Image of the program that trials and training run.
        trainer_command: Its command; it gets --data-path, --epochs, one --name=value each and --model-path.
        trainer_arguments: Further arguments, {"name": value}, of every trial and of the training.
        tune_timeout: Seconds for the whole search.
        epochs: Epochs of the training.
        workers: Processes that train together, the chief included.
        parameter_servers: Parameter servers beside them, for trainers that use them.
        train_timeout: Seconds for the training.
        force: Whether to train although nothing is new.
        deploy_timeout: Seconds for the new model to answer.
        best_parameters: Hyper-parameters that take the place of the remembered ones, {"name": value}.
        retune_every: Search anew at every so-many-th training; 0 for never.
        retune_accuracy_drop: Search anew where the serving model's accuracy has fallen by more than this; 0 for never.
        retune_drift: Search anew where the answers' population stability index is above this; 0 for never.
        keep_models: Models to keep, this run's included, besides the serving one and the one before it.
        keep_runs: Runs of this model to keep, this one included.
        metrics: The serving model's accuracy on this test set, and the drift of its answers.
        reason: What is to be done, and why.
        known_parameters: The hyper-parameters to train with, unless new ones are searched for.

    Returns:
        `skip`, `train` with the known hyper-parameters, or `tune` first.
    """
    given = {
        name: value
        for name, value in locals().items()
        if name not in ("run_id", "data_path", "metrics", "reason", "known_parameters")
    }
    import json

    from hyperflow import steps
    from hyperflow.parameters import Parameters
    from hyperflow.steps import retrain

    with steps.step("plan", run_id) as step:
        made, figures = retrain.plan(step, Parameters(**given), data_path, reason.path)
    for name, value in figures.items():
        metrics.log_metric(name, value)
    with open(known_parameters, "w") as file:
        json.dump(dict(made.parameters), file)
    return made.action
