"""Predict: test the deployed model with labelled images; promote it, or put the previous one back."""

from kfp import dsl

from components import component


@component
def predict(
    run_id: str,
    data_path: str,
    url: str,
    model_path: str,
    model_name: str,
    smoke_instances: int,
    smoke_accuracy_floor: float,
    smoke_p99_ms: float,
    metrics: dsl.Output[dsl.Metrics],
    answers: dsl.Output[dsl.HTML],
) -> str:
    """Send labelled test images to the deployed model and judge its answers and its speed.

    Args:
        run_id: The run's id.
        data_path: Folder of the verified data set.
        url: URL of the deployed model.
        model_path: Its folder on the volume.
        metrics: Accuracy and latency.
        answers: Images with their labels and the model's answers.

    Returns:
        URL at which the service's users meet the model.
    """
    given = dict(locals())
    from hyperflow.parameters import Parameters
    from hyperflow.specs import Endpoint, ModelRef
    from hyperflow.steps import begin, predict

    with begin("predict", run_id) as step:
        endpoint = Endpoint(model_name, url, ModelRef(model_path, step.run_id))
        result, promoted = predict.run(step, Parameters.among(given), endpoint, data_path, answers.path)
    metrics.log_metric("smoke-accuracy", result.accuracy)
    metrics.log_metric("smoke-instances", result.instances)
    metrics.log_metric("p50-ms", result.p50_ms)
    metrics.log_metric("p99-ms", result.p99_ms)
    metrics.log_metric("first-answer-ms", result.first_ms)
    return promoted.url
