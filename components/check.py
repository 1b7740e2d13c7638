"""Refuse bad parameters, and surroundings that cannot do the work, before anything is made."""

from components import component


@component
def check(
    run_id: str,
    data_source: str,
    dataset: str,
    claim: str,
    model_name: str,
    trainer_image: str,
    trainer_command: list,
    trainer_arguments: dict,
    trial_arguments: dict,
    search_space: dict,
    algorithm: str,
    algorithm_settings: dict,
    objective_metric: str,
    objective_type: str,
    objective_goal: str,
    max_trials: int,
    parallel_trials: int,
    max_failed_trials: int,
    trial_epochs: int,
    trial_workers: int,
    early_stopping: bool,
    early_stopping_settings: dict,
    tuner: str,
    tune_timeout: int,
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
    step_cpu: str,
    step_memory: str,
    accuracy_floor: float,
    significance: float,
    force: bool,
    turn_timeout: int,
    approval: str,
    approval_timeout: int,
    tracking_uri: str,
    model_registry: str,
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
    smoke_instances: int,
    smoke_accuracy_floor: float,
    smoke_p99_ms: float,
    best_parameters: dict = {},
    retune_every: int = 0,
    retune_accuracy_drop: float = 0.02,
    retune_drift: float = 0.25,
    retune_input_drift: float = 0.0,
    keep_models: int = 10,
    keep_runs: int = 30,
) -> str:
    """Judge every parameter of the run, and the namespace or machine that it would work in.

    Those that have a default are the recurring pipeline's alone.

    Args:
        run_id: The run's id.

    Returns:
        A line that says all is well.
    """
    given = dict(locals())
    from hyperflow.parameters import Parameters
    from hyperflow.steps import begin, check

    with begin("check", run_id) as step:
        check.run(step, Parameters.among(given))
    return "every parameter can work"
