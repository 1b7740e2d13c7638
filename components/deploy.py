"""Deploy: serve the model, with a KServe InferenceService on a cluster and KServe's model server on a machine."""

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
    cpu: str,
    memory: str,
    node_selector: dict,
    tolerations: list,
    image_pull_secret: str,
    serving_runtime: str,
    serving_image: str,
    min_replicas: int,
    max_replicas: int,
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
        claim: The ReadWriteMany volume claim that every step and job mounts.
        model_name: The model's and the service's name, 1 to 40 of a-z, 0-9 and -.
        cpu: Cores of each trial, worker and replica.
        memory: Memory of each trial, worker and replica.
        node_selector: Labels that nodes must have, {"label": "value"}.
        tolerations: Kubernetes tolerations of trials, workers and replicas.
        image_pull_secret: Secret to pull the trainer's and predictor's images with; empty for none.
        serving_runtime: hyperflow (our own predictor) or tensorflow (TensorFlow Serving).
        serving_image: Image of our own predictor.
        min_replicas: Least replicas of the service.
        max_replicas: Most replicas of the service.
        canary_percent: Share of requests that the new model gets until the smoke test has passed; 100 for no canary.
        deploy_timeout: Seconds for the new model to answer.

    Returns:
        URL of the deployed model.
    """
    given = {
        name: value
        for name, value in locals().items()
        if name not in ("run_id", "data_digest", "best_parameters", "model_path", "accuracy")
    }
    from hyperflow import steps
    from hyperflow.parameters import Parameters
    from hyperflow.specs import ModelRef
    from hyperflow.steps import release

    with steps.step("deploy", run_id) as step:
        model = ModelRef(model_path, step.run_id, accuracy, data_digest, best_parameters)
        endpoint = release.deploy(step, Parameters(**given), model)
    return endpoint.url
