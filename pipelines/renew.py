"""The part of a recurring run that has something to do: train, then decide, deploy and predict."""

from kfp import dsl

from components.train import train
from pipelines import settings
from pipelines.release import release


@dsl.pipeline(name="renew")
def renew(
    run_id: str,
    data_path: str,
    data_digest: str,
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
    """Train with known hyper-parameters, and serve the model if it is better."""
    trained = train(
        run_id=run_id, data_path=data_path, best_parameters=best_parameters, tuned=tuned, claim=claim,
        model_name=model_name, trainer_image=trainer_image, trainer_command=trainer_command,
        trainer_arguments=trainer_arguments, epochs=epochs, workers=workers, parameter_servers=parameter_servers,
        evaluator=evaluator, train_retries=train_retries, train_timeout=train_timeout, cpu=cpu, memory=memory,
        gpus=gpus, node_selector=node_selector, tolerations=tolerations, image_pull_secret=image_pull_secret,
        queue=queue, gang_scheduling=gang_scheduling,
    )  # fmt: skip
    settings.apply(trained, claim)
    release(
        run_id=run_id, data_path=data_path, data_digest=data_digest, best_parameters=best_parameters,
        model_path=trained.outputs["model_path"], accuracy=trained.outputs["accuracy"],
        claim=claim, model_name=model_name, cpu=cpu, memory=memory, node_selector=node_selector,
        tolerations=tolerations, image_pull_secret=image_pull_secret, accuracy_floor=accuracy_floor,
        significance=significance, force=force, turn_timeout=turn_timeout, serving_runtime=serving_runtime,
        serving_image=serving_image, min_replicas=min_replicas, max_replicas=max_replicas,
        canary_percent=canary_percent, deploy_timeout=deploy_timeout, smoke_instances=smoke_instances,
        smoke_accuracy_floor=smoke_accuracy_floor, smoke_p99_ms=smoke_p99_ms,
    )  # fmt: skip
