"""Deploy: serve the model, with a KServe InferenceService on a cluster and our own predictor alone on a machine."""

from components import component


@component
def deploy(
    run_id: str,
    data_digest: str,
    best_parameters: dict,
    model_path: str,
    accuracy: float,
    claim: str,
    model_name: str,
    gpu_resource: str,
    image_pull_secret: str,
    serving_runtime: str,
    serving_image: str,
    serving_cpu: str,
    serving_memory: str,
    serving_gpus: int,
    serving_node_selector: dict,
    serving_tolerations: list,
    log_payloads: str,
    min_replicas: int,
    max_replicas: int,
    scale_metric: str,
    scale_target: int,
    canary_percent: int,
    deploy_timeout: int,
) -> str:
    """Serve the model and wait until it is this model that answers.

    Args:
        run_id: The run's id.
        data_digest: Digest of the data set the model was trained on.
        best_parameters: The hyper-parameters it was trained with.
        model_path: Its folder on the volume.
        accuracy: Its accuracy on the test set, 0 to 1.

    Returns:
        URL of the deployed model.
    """
    given = dict(locals())
    from hyperflow.parameters import Parameters
    from hyperflow.specs import ModelRef
    from hyperflow.steps import begin, deploy

    with begin("deploy", run_id) as step:
        model = ModelRef(model_path, step.run_id, accuracy, data_digest, best_parameters)
        endpoint = deploy.run(step, Parameters.among(given), model)
    return endpoint.url
