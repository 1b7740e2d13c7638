"""Train: make the model, with a TFJob on a cluster and with TensorFlow processes on a machine."""

from typing import NamedTuple

from kfp import dsl

from components import component


@component
def train(
    run_id: str,
    data_path: str,
    best_parameters: dict,
    tuned: bool,
    claim: str,
    model_name: str,
    trainer_image: str,
    trainer_command: list,
    trainer_arguments: dict,
    epochs: int,
    workers: int,
    parameter_servers: int,
    evaluator: bool,
    train_retries: int,
    train_timeout: int,
    cpu: str,
    memory: str,
    gpus: int,
    node_selector: dict,
    tolerations: list,
    image_pull_secret: str,
    queue: str,
    gang_scheduling: bool,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    training: dsl.Output[dsl.HTML],
) -> NamedTuple("Outputs", [("model_path", str), ("accuracy", float)]):
    """Train with the best hyper-parameters and save the model on the volume.

    Args:
        run_id: The run's id.
        data_path: Folder of the verified data set.
        best_parameters: The hyper-parameters to train with.
        tuned: Whether this run has searched for them.
        claim: The ReadWriteMany volume claim that every step and job mounts.
        model_name: The model's and the service's name, 1 to 40 of a-z, 0-9 and -.
        trainer_image: Image of the program that trials and training run.
        trainer_command: Its command; it gets --data-path, --epochs, one --name=value each and --model-path.
        trainer_arguments: Further arguments, {"name": value}, of every trial and of the training.
        epochs: Epochs of the training.
        workers: Processes that train together, the chief included.
        parameter_servers: Parameter servers beside them, for trainers that use them.
        evaluator: Whether an evaluator runs beside them, for trainers that use one.
        train_retries: Restarts of the training after faults that a retry may cure.
        train_timeout: Seconds for the training.
        cpu: Cores of each trial, worker and replica.
        memory: Memory of each trial, worker and replica.
        gpus: GPUs of each trial and worker.
        node_selector: Labels that nodes must have, {"label": "value"}.
        tolerations: Kubernetes tolerations of trials, workers and replicas.
        image_pull_secret: Secret to pull the trainer's and predictor's images with; empty for none.
        queue: Queue of Kueue or Volcano; empty for none.
        gang_scheduling: Whether a training's pods start all at once or not at all.
        model: The saved model.
        metrics: Every metric's last value.
        confusion: Confusion matrix on the test set.
        training: Curves, scores and misread images.

    Returns:
        model_path: Folder of the model on the volume, above its version folder.
        accuracy: Accuracy on the test set, 0 to 1.
    """
    given = {
        name: value
        for name, value in locals().items()
        if name not in ("run_id", "data_path", "best_parameters", "tuned", "model", "metrics", "confusion", "training")
    }
    from typing import NamedTuple

    from hyperflow import steps
    from hyperflow.parameters import Parameters

    with steps.step("train", run_id) as step:
        trained, result, evaluation = steps.train(
            step, Parameters(**given), data_path, best_parameters, tuned, training.path
        )
    model.metadata.update(path=trained.path, accuracy=trained.accuracy, data=trained.data, location=result.location)
    for name, value in result.metrics.items():
        metrics.log_metric(name, value)
    if "confusion_matrix" in evaluation:
        confusion.log_confusion_matrix(evaluation["classes"], evaluation["confusion_matrix"])
    outputs = NamedTuple("Outputs", [("model_path", str), ("accuracy", float)])
    return outputs(trained.path, trained.accuracy)
