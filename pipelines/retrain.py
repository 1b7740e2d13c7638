"""The recurring way: look whether anything is new, train with the known best values, promote only what is better."""

from kfp import dsl

from components import MODEL_IMAGE
from components.check import check
from components.load_data import load_data
from components.plan import plan
from components.tune import tune
from hyperflow.parameters import SEARCH_SPACE as SPACE
from hyperflow.parameters import TRAINER_COMMAND as COMMAND
from pipelines import settings
from pipelines.renew import renew

SEARCH_SPACE = {name: dict(parameter) for name, parameter in SPACE.items()}
TRAINER_COMMAND = list(COMMAND)


@dsl.pipeline(name="retrain")
def retrain(
    data_source: str = "auto",
    dataset: str = "fashion-mnist",
    claim: str = "hyperflow",
    model_name: str = "fashion-mnist",
    trainer_image: str = MODEL_IMAGE,
    trainer_command: list = TRAINER_COMMAND,
    trainer_arguments: dict = {"model": "cnn", "seed": 0},
    trial_arguments: dict = {"train_fraction": 0.5},
    search_space: dict = SEARCH_SPACE,
    algorithm: str = "tpe",
    algorithm_settings: dict = {},
    objective_metric: str = "validation-accuracy",
    objective_type: str = "maximize",
    objective_goal: str = "",
    max_trials: int = 6,
    parallel_trials: int = 2,
    max_failed_trials: int = 3,
    trial_epochs: int = 1,
    trial_workers: int = 1,
    early_stopping: bool = False,
    early_stopping_settings: dict = {},
    tune_timeout: int = 86400,
    epochs: int = 14,
    workers: int = 1,
    parameter_servers: int = 0,
    evaluator: bool = False,
    train_retries: int = 2,
    train_timeout: int = 86400,
    cpu: str = "2",
    memory: str = "4Gi",
    gpus: int = 0,
    node_selector: dict = {},
    tolerations: list = [],
    image_pull_secret: str = "",
    queue: str = "",
    gang_scheduling: bool = False,
    accuracy_floor: float = 0.85,
    significance: float = 0.05,
    force: bool = False,
    turn_timeout: int = 600,
    serving_runtime: str = "hyperflow",
    serving_image: str = MODEL_IMAGE,
    min_replicas: int = 1,
    max_replicas: int = 1,
    canary_percent: int = 100,
    deploy_timeout: int = 600,
    smoke_instances: int = 200,
    smoke_accuracy_floor: float = 0.8,
    smoke_p99_ms: float = 1000.0,
    best_parameters: dict = {},
    retune_every: int = 0,
    retune_accuracy_drop: float = 0.02,
    retune_drift: float = 0.25,
    keep_models: int = 10,
    keep_runs: int = 30,
) -> None:
    """Train on new data with the values known best, and serve the model only if it is better than the one serving.

    Args:
        data_source: Where the data set is: a folder, or any URL fsspec reads, with the four IDX files; `auto` looks in
            the cache, the system package's folder and the official address.
        dataset: The data set's name; `fashion-mnist` is checked against its published digests, any other name has its
            own.
        claim: The ReadWriteMany volume claim that every step and job mounts.
        model_name: The model's and the service's name, 1 to 40 of a-z, 0-9 and -.
        trainer_image: Image of the program that trials and training run.
        trainer_command: Its command; it gets --data-path, --epochs, one --name=value each and --model-path.
        trainer_arguments: Further arguments, {"name": value}, of every trial and of the training.
        trial_arguments: Further arguments of trials only, which may train on a part of the data.
        search_space: What to tune: {"name": {"type": "double|int|discrete|categorical", "min": 0, "max": 1, "step": 0,
            "values": [], "distribution": "uniform|logUniform"}}.
        algorithm: random, grid, tpe, multivariate-tpe, cmaes, sobol or hyperband.
        algorithm_settings: The algorithm's settings in Katib's names, {"random_state": "1"}.
        objective_metric: The metric that trials are compared by, as the trainer prints it.
        objective_type: maximize or minimize.
        objective_goal: The value at which to stop searching; empty for none.
        max_trials: Trials to finish.
        parallel_trials: Trials at one time.
        max_failed_trials: Failed trials at which the search fails.
        trial_epochs: Epochs of a trial.
        trial_workers: Processes of a trial; more than one makes each trial a TFJob.
        early_stopping: Whether to stop trials that do worse than the others did (medianstop).
        early_stopping_settings: min_trials_required and start_step.
        tune_timeout: Seconds for the whole search.
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
        accuracy_floor: Least accuracy on the test set, 0 to 1; a model below it is not deployed, and the run says so.
        significance: Largest probability that the new model's lead over the one now serving is chance, 0 to 1; a model
            whose lead is less sure is not deployed.
        force: Whether to deploy the new model whatever the comparison says, and to train although nothing is
            new; the verdict records it.
        turn_timeout: Seconds to wait for another run that changes the service, up to 3000; 0 refuses at once.
        serving_runtime: hyperflow (our own predictor) or tensorflow (TensorFlow Serving).
        serving_image: Image of our own predictor.
        min_replicas: Least replicas of the service.
        max_replicas: Most replicas of the service.
        canary_percent: Share of requests that the new model gets until the smoke test has passed; 100 for no canary.
        deploy_timeout: Seconds for the new model to answer.
        smoke_instances: Labelled test images to send to the deployed model.
        smoke_accuracy_floor: Least share of them that it must read right, 0 to 1.
        smoke_p99_ms: Most milliseconds that 99 % of the requests may take.
        best_parameters: Hyper-parameters that take the place of the remembered ones, {"name": value}.
        retune_every: Search anew at every so-many-th training; 0 for never.
        retune_accuracy_drop: Search anew where the serving model's accuracy has fallen by more than this on the new
            test set; 0 for never.
        retune_drift: Search anew where the population stability index of what users were answered is above this; 0 for
            never.
        keep_models: Models to keep, this run's included; the serving one and the one before it always stay.
        keep_runs: Runs of this model to keep, this one included.
    """
    given = dict(locals())
    run_id = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    checked = settings.apply(check(run_id=run_id, **given), claim, timeout=settings.QUARTER_HOUR)
    loaded = load_data(run_id=run_id, data_source=data_source, dataset=dataset).after(checked)
    settings.apply(loaded, claim, timeout=settings.HOUR)  # not cached: what the source holds may be new
    data_path, data_digest = loaded.outputs["data_path"], loaded.outputs["digest"]
    planned = plan(
        run_id=run_id, data_path=data_path, claim=claim, model_name=model_name, trainer_image=trainer_image,
        trainer_command=trainer_command, trainer_arguments=trainer_arguments, tune_timeout=tune_timeout, epochs=epochs,
        workers=workers, parameter_servers=parameter_servers, train_timeout=train_timeout, force=force,
        deploy_timeout=deploy_timeout, best_parameters=best_parameters, retune_every=retune_every,
        retune_accuracy_drop=retune_accuracy_drop, retune_drift=retune_drift, keep_models=keep_models,
        keep_runs=keep_runs,
    )  # fmt: skip
    settings.asking(settings.apply(planned, claim, timeout=settings.HOUR))
    rest = {
        "run_id": run_id, "data_path": data_path, "data_digest": data_digest, "claim": claim, "model_name": model_name,
        "trainer_image": trainer_image, "trainer_command": trainer_command, "trainer_arguments": trainer_arguments,
        "epochs": epochs, "workers": workers, "parameter_servers": parameter_servers, "evaluator": evaluator,
        "train_retries": train_retries, "train_timeout": train_timeout, "cpu": cpu, "memory": memory, "gpus": gpus,
        "node_selector": node_selector, "tolerations": tolerations, "image_pull_secret": image_pull_secret,
        "queue": queue, "gang_scheduling": gang_scheduling, "accuracy_floor": accuracy_floor,
        "significance": significance, "force": force, "turn_timeout": turn_timeout, "serving_runtime": serving_runtime,
        "serving_image": serving_image, "min_replicas": min_replicas, "max_replicas": max_replicas,
        "canary_percent": canary_percent, "deploy_timeout": deploy_timeout, "smoke_instances": smoke_instances,
        "smoke_accuracy_floor": smoke_accuracy_floor, "smoke_p99_ms": smoke_p99_ms,
    }  # fmt: skip
    with dsl.If(planned.outputs["Output"] == "train", name="known-values"):
        renew(best_parameters=planned.outputs["known_parameters"], tuned=False, **rest)
    with dsl.If(planned.outputs["Output"] == "tune", name="new-values"):
        tuned = tune(
            run_id=run_id, data_path=data_path, claim=claim, trainer_image=trainer_image,
            trainer_command=trainer_command, trainer_arguments=trainer_arguments, trial_arguments=trial_arguments,
            search_space=search_space, algorithm=algorithm, algorithm_settings=algorithm_settings,
            objective_metric=objective_metric, objective_type=objective_type, objective_goal=objective_goal,
            max_trials=max_trials, parallel_trials=parallel_trials, max_failed_trials=max_failed_trials,
            trial_epochs=trial_epochs, trial_workers=trial_workers, early_stopping=early_stopping,
            early_stopping_settings=early_stopping_settings, tune_timeout=tune_timeout, cpu=cpu, memory=memory,
            gpus=gpus, node_selector=node_selector, tolerations=tolerations, image_pull_secret=image_pull_secret,
            queue=queue, gang_scheduling=gang_scheduling,
        )  # fmt: skip
        settings.apply(tuned, claim)
        renew(best_parameters=tuned.outputs["best_parameters"], tuned=True, **rest)
