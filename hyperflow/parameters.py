"""The one table of parameters: name, type, default, rule and meaning.

The pipelines' signatures and docstrings, the components' descriptions, the command line and the docs
are made from this table. A step is given some of the parameters; reading one that it was not given
raises, so that a forgotten input can never turn into a default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, get_origin, get_type_hints

from hyperflow.errors import one_of
from hyperflow.specs import ALGORITHMS, Value, rules
from hyperflow.specs.entry import Entry
from hyperflow.specs.entry import given as _given

SEARCH_SPACE: Mapping[str, Mapping[str, object]] = {
    "learning_rate": {"type": "double", "min": 0.0005, "max": 0.008, "distribution": "logUniform"},
    "dropout_rate": {"type": "double", "min": 0.1, "max": 0.5},
}
TRAINER_COMMAND = ("python", "-m", "hyperflow.fashion.train")

_KFP = {Mapping: dict, Sequence: list}


class Parameters:
    """Values of some of the parameters.

    Raises:
        InvalidParameter: A value cannot work, judged alone; `translation.judge` judges all of them together.
    """

    data_source: str = _given(
        "auto",
        "Where the data set is: a folder, or any URL fsspec reads, of four IDX files or of pictures in a folder for "
        "each class; an archive of pictures; or an .npz. `auto` looks in the cache, the system package's folder and at "
        "the official address.",
        rules.text,
    )
    dataset: str = _given(
        "fashion-mnist",
        "The data set's name; `fashion-mnist` is checked against its published digests, any other name has its own.",
        rules.folder_name,
    )
    claim: str = _given("hyperflow", "The ReadWriteMany volume claim that every step and job mounts.")
    model_name: str = _given(
        "fashion-mnist", "The model's and the service's name, 1 to 40 of a-z, 0-9 and -.", rules.service_name
    )
    trainer_image: str = _given("", "Image of the program that trials and training run.")
    trainer_command: Sequence[str] = _given(
        TRAINER_COMMAND,
        "Its command; it gets --data-path, --epochs, one --name=value each and --model-path.",
        rules.a_list,
    )
    trainer_arguments: Mapping[str, Value] = _given(
        {"preset": "default", "seed": 0},
        'Further arguments, {"name": value}, of every trial and of the training; our trainer has the presets fast, '
        "default and accurate.",
        rules.an_object,
    )
    trial_arguments: Mapping[str, Value] = _given(
        {"train_fraction": 0.5},
        "Further arguments of trials only, which may train on a part of the data.",
        rules.an_object,
    )
    search_space: Mapping[str, Mapping[str, object]] = _given(
        SEARCH_SPACE,
        'What to tune: {"name": {"type": "double|int|discrete|categorical", "min": 0, "max": 1, "step": 0, '
        '"values": [], "distribution": "uniform|logUniform"}}.',
        rules.an_object,
    )
    algorithm: str = _given("tpe", f"How to search: {one_of(ALGORITHMS)}.")
    algorithm_settings: Mapping[str, Value] = _given(
        {}, 'The algorithm\'s settings in Katib\'s names, {"random_state": "1"}.', rules.an_object
    )
    objective_metric: str = _given(
        "validation-accuracy", "The metric that trials are compared by, as the trainer prints it."
    )
    objective_type: str = _given("maximize", "maximize or minimize.")
    objective_goal: str = _given("", "The value at which to stop searching; empty for none.")
    max_trials: int = _given(6, "Trials to finish.")
    parallel_trials: int = _given(2, "Trials at one time.")
    max_failed_trials: int = _given(3, "Failed trials at which the search fails.")
    trial_epochs: int = _given(1, "Epochs of a trial.")
    trial_workers: int = _given(1, "Processes of a trial; more than one are run together by training_backend.")
    early_stopping: bool = _given(False, "Whether to stop trials that do worse than the others did (medianstop).")
    early_stopping_settings: Mapping[str, int] = _given({}, "min_trials_required and start_step.", rules.an_object)
    tuner: str = _given(
        "auto",
        "What searches on a cluster: katib; job, our own search with a Job for each trial; or auto, Katib where it is "
        "alive.",
    )
    tune_timeout: int = _given(86400, "Seconds for the whole search.")
    epochs: int = _given(
        0,
        "Epochs of the training; 0: as our trainer's preset has, 14 of another trainer.",
        rules.whole_number(0, 10_000),
    )
    workers: int = _given(1, "Processes that train together, the chief included.")
    parameter_servers: int = _given(0, "Parameter servers beside them, for trainers that use them.")
    evaluator: bool = _given(False, "Whether an evaluator runs beside them, for trainers that use one.")
    training_backend: str = _given(
        "auto",
        "What runs a training on a cluster: tfjob, trainjob or job, which needs no operator; auto takes the first that "
        "is alive.",
    )
    train_retries: int = _given(2, "Restarts of the training after faults that a retry may cure.")
    train_timeout: int = _given(86400, "Seconds for the training.")
    cpu: str = _given("2", "Cores of each trial and worker.")
    memory: str = _given("4Gi", "Memory of each trial and worker.")
    gpus: int = _given(0, "GPUs of each trial and worker; they need a trainer_image that can use them.")
    gpu_resource: str = _given(
        "nvidia.com/gpu", "What the cluster calls a GPU: nvidia.com/gpu, nvidia.com/mig-1g.5gb, amd.com/gpu."
    )
    shared_memory: str = _given(
        "", "Memory at /dev/shm of each trial and worker, 2Gi for example, a part of its memory; empty for 64 MiB."
    )
    priority_class: str = _given("", "PriorityClass of trials and workers; empty for the cluster's default.")
    node_selector: Mapping[str, str] = _given(
        {}, 'Labels that nodes of trials and workers must have, {"label": "value"}.', rules.an_object
    )
    tolerations: Sequence[Mapping[str, object]] = _given(
        [], "Kubernetes tolerations of trials and workers.", rules.a_list
    )
    image_pull_secret: str = _given("", "Secret to pull the trainer's and predictor's images with; empty for none.")
    queue: str = _given("", "Queue of Kueue or Volcano; empty for none.")
    gang_scheduling: bool = _given(False, "Whether a training's pods start all at once or not at all.")
    step_cpu: str = _given("2", "Most cores of each step itself, which a quota may want to be told.", rules.quantity)
    step_memory: str = _given("2Gi", "Most memory of each step itself.", rules.quantity)
    accuracy_floor: float = _given(
        0.85,
        "Least accuracy on the test set, 0 to 1; a model below it is not deployed, and the run says so.",
        rules.number_up_to(1),
    )
    significance: float = _given(
        0.05,
        "Largest probability that the new model's lead over the one now serving is chance, 0 to 1; a model whose lead "
        "is less sure is not deployed.",
        rules.number_up_to(1),
    )
    force: bool = _given(
        False,
        "Whether to deploy the new model whatever the comparison says, and, in a recurring run, to train although "
        "nothing is new; the verdict records it.",
    )
    turn_timeout: int = _given(
        600,
        "Seconds to wait for another run that changes the service, up to 3000; 0 refuses at once.",
        rules.whole_number(0, 3000),
    )
    approval: str = _given(
        "none",
        "none, or required: a person says yes (`hyperflow approve`) before a model that the gate lets through goes "
        "live.",
        rules.choice("none", "required"),
    )
    approval_timeout: int = _given(
        86400,
        "Seconds to wait for that person, up to 604800, a week; without an answer the model is not deployed.",
        rules.whole_number(1, 604_800),
    )
    tracking_uri: str = _given(
        "",
        "Base URL of an MLflow server on which each step writes the run down when it ends; empty for none. Credentials "
        "are in the optional Secret hyperflow-mlflow.",
        rules.address,
    )
    model_registry: str = _given(
        "",
        "Base URL of a Kubeflow Model Registry in which each model that is deployed is a version; empty for none. A "
        "token for it is MODEL_REGISTRY_TOKEN in the optional Secret hyperflow-access.",
        rules.address,
    )
    serving_runtime: str = _given("hyperflow", "hyperflow (our own predictor) or tensorflow (TensorFlow Serving).")
    serving_image: str = _given("", "Image of our own predictor.")
    serving_cpu: str = _given("1", "Cores of each replica of the service.")
    serving_memory: str = _given("2Gi", "Memory of each replica of the service.")
    serving_gpus: int = _given(0, "GPUs of each replica; they need a serving_image that can use them.")
    serving_node_selector: Mapping[str, str] = _given(
        {}, "Labels that nodes of the service must have; stock Knative refuses any.", rules.an_object
    )
    serving_tolerations: Sequence[Mapping[str, object]] = _given(
        [], "Kubernetes tolerations of the service; stock Knative refuses any.", rules.a_list
    )
    log_payloads: str = _given(
        "",
        "Where our predictor keeps what is asked and answered: a folder, by its path on the volume, or a URL; empty "
        "for nowhere. What users send may be personal.",
    )
    min_replicas: int = _given(1, "Least replicas of the service; 0 in KServe's Knative mode alone.")
    max_replicas: int = _given(1, "Most replicas of the service.")
    scale_metric: str = _given(
        "", "What replicas are added for: concurrency or rps (Knative), cpu or memory (Standard); empty: KServe's own."
    )
    scale_target: int = _given(
        0,
        "How much of it a replica is to have: requests (Knative), or percent of the cpu or memory that it asks for "
        "(Standard, up to 100; memory needs one); 0: KServe's own.",
    )
    canary_percent: int = _given(
        100,
        "Share of requests that the new model gets until the smoke test has passed; KServe 0.20.0 in Standard mode "
        "gives it none of them before. 100 for no canary.",
    )
    deploy_timeout: int = _given(600, "Seconds for the new model to answer.")
    smoke_instances: int = _given(
        200, "Labelled test images to send to the deployed model.", rules.whole_number(1, 10_000)
    )
    smoke_accuracy_floor: float = _given(
        0.8, "Least share of them that it must read right, 0 to 1.", rules.number_up_to(1)
    )
    smoke_p99_ms: float = _given(
        1000.0, "Most milliseconds that 99 % of the requests may take.", rules.number_up_to(3_600_000, 0.001)
    )
    best_parameters: Mapping[str, Value] = _given(
        {},
        'Hyper-parameters that take the place of the remembered ones, {"name": value}.',
        rules.an_object,
        recurring=True,
    )
    retune_every: int = _given(
        0, "Search anew at every so-many-th training; 0 for never.", rules.whole_number(0, 10_000), recurring=True
    )
    retune_accuracy_drop: float = _given(
        0.02,
        "Search anew where the serving model's accuracy has fallen by more than this on the new test set; 0 for never.",
        rules.number_up_to(1),
        recurring=True,
    )
    retune_drift: float = _given(
        0.25,
        "Search anew where the population stability index of what users were answered is above this; 0 for never.",
        rules.number_up_to(1000),
        recurring=True,
    )
    retune_input_drift: float = _given(
        0.0,
        "Search anew where the statistic of the pictures in the folder of log_payloads, 0 to 1, is above this; 0 for "
        "never.",
        rules.number_up_to(1),
        recurring=True,
    )
    keep_models: int = _given(
        10,
        "Models to keep, this run's included; the serving one and the one before it always stay.",
        rules.whole_number(2, 10_000),
        recurring=True,
    )
    keep_runs: int = _given(
        30, "Runs of this model to keep, this one included.", rules.whole_number(1, 10_000), recurring=True
    )

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            TABLE[name].rule(name, value)
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the parameter {name!r} was not given to this step")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("parameters do not change")

    @classmethod
    def among(cls, values: Mapping[str, Any]) -> Parameters:
        """Take those of some values that are parameters: all inputs of a component, for example."""
        return cls(**{name: value for name, value in values.items() if name in TABLE})

    @classmethod
    def complete(cls, values: Mapping[str, Any]) -> Parameters:
        """Take all parameters, with their defaults where no value is given."""
        return cls(**{name: values.get(name, entry.default) for name, entry in TABLE.items()})


def _tabulate() -> dict[str, Entry]:
    """Make the table of the class's annotations, and leave the class without values: they are the instances'."""
    table = {}
    for name, hint in get_type_hints(Parameters).items():
        kind = get_origin(hint) or hint
        table[name] = replace(vars(Parameters)[name], type=_KFP.get(kind, kind))
        delattr(Parameters, name)
    return table


TABLE: Mapping[str, Entry] = MappingProxyType(_tabulate())
"""Every parameter, in the order in which the pipelines have them."""
