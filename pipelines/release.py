"""The end that every pipeline shares: decide, then deploy and predict only on a yes."""

from kfp import dsl

from components.decide import decide
from components.deploy import deploy
from components.predict import predict
from pipelines import settings


@dsl.pipeline(name="release")
def release(
    run_id: str,
    data_path: str,
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
    accuracy_floor: float,
    significance: float,
    force: bool,
    turn_timeout: int,
    serving_runtime: str,
    serving_image: str,
    min_replicas: int,
    max_replicas: int,
    canary_percent: int,
    deploy_timeout: int,
    smoke_instances: int,
    smoke_accuracy_floor: float,
    smoke_p99_ms: float,
) -> None:
    """Serve a trained model if it deserves it, test it where it is served, and go back if it fails."""
    decided = decide(
        run_id=run_id, data_path=data_path, data_digest=data_digest, best_parameters=best_parameters,
        model_path=model_path, accuracy=accuracy, model_name=model_name, accuracy_floor=accuracy_floor,
        significance=significance, force=force, turn_timeout=turn_timeout,
    )  # fmt: skip
    settings.asking(settings.apply(decided, claim, timeout=settings.HOUR))
    with dsl.If(decided.outputs["Output"] == "deploy", name="deserved"):
        deployed = deploy(
            run_id=run_id, data_digest=data_digest, best_parameters=best_parameters, model_path=model_path,
            accuracy=accuracy,
            claim=claim, model_name=model_name, cpu=cpu, memory=memory, node_selector=node_selector,
            tolerations=tolerations, image_pull_secret=image_pull_secret, serving_runtime=serving_runtime,
            serving_image=serving_image, min_replicas=min_replicas, max_replicas=max_replicas,
            canary_percent=canary_percent, deploy_timeout=deploy_timeout,
        )  # fmt: skip
        settings.asking(settings.apply(deployed, claim))
        predicted = predict(
            run_id=run_id, data_path=data_path, url=deployed.output, model_path=model_path,
            model_name=model_name, smoke_instances=smoke_instances, smoke_accuracy_floor=smoke_accuracy_floor,
            smoke_p99_ms=smoke_p99_ms,
        )  # fmt: skip
        settings.asking(settings.apply(predicted, claim, timeout=settings.HOUR))
