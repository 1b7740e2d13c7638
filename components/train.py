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
    training_backend: str,
    train_retries: int,
    train_timeout: int,
    cpu: str,
    memory: str,
    gpus: int,
    gpu_resource: str,
    shared_memory: str,
    priority_class: str,
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
        model: The saved model.
        metrics: Every metric's last value.
        confusion: Confusion matrix on the test set.
        training: Curves, scores and misread images.

    Returns:
        model_path: Folder of the model on the volume, above its version folder.
        accuracy: Accuracy on the test set, 0 to 1.
    """
    given = dict(locals())
    from typing import NamedTuple

    from hyperflow.parameters import Parameters
    from hyperflow.steps import begin, train

    with begin("train", run_id) as step:
        trained = train.run(step, Parameters.among(given), data_path, best_parameters, tuned, training.path)
    made, told = trained.model, trained.evaluation
    model.metadata.update(path=made.path, accuracy=made.accuracy, data=made.data, location=trained.location)
    for name, value in trained.metrics.items():
        metrics.log_metric(name, value)
    if told.confusion_matrix:
        confusion.log_confusion_matrix(list(told.classes), [list(row) for row in told.confusion_matrix])
    outputs = NamedTuple("outputs", [("model_path", str), ("accuracy", float)])
    return outputs(made.path, made.accuracy)
