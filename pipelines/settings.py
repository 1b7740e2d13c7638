"""What Kubernetes is told about every step: claim, cache, retries, time limit, resources, least power."""

from kfp import dsl, kubernetes
from kfp.dsl.structures import ResourceSpec

from hyperflow import client
from hyperflow.datasets import places
from hyperflow.tracking import credentials
from hyperflow.volume import MOUNT_PATH
from pipelines import server
from pipelines.wiring import Given

QUARTER_HOUR, HOUR, WEEK = 900, 3600, 604_800
USER = 1000
"""The fixed user of our images; the claim's folders belong to its group."""

ACCESS_SECRET = "hyperflow-access"
"""An optional Secret with `token`, `cookie` or `ingress`, for clusters whose services ask who calls; and with
`MODEL_REGISTRY_TOKEN`, for a Model Registry that asks."""

DATA_SECRET = "hyperflow-data-source"
"""An optional Secret with fsspec's configuration, for data sources that want credentials."""

TRACKING_SECRET = "hyperflow-mlflow"
"""An optional Secret with `MLFLOW_TRACKING_USERNAME` and `_PASSWORD`, or `_TOKEN`, for an MLflow server that asks."""

RETRY_SECONDS = 30 * 24 * HOUR
"""Argo counts it from the first attempt's start; then it retries nothing, and kills the attempt that runs."""

_RETRIES = 2  # a step that finds its job again loses nothing by being run again


def apply(task: dsl.PipelineTask, given: Given, *, timeout: int = 0) -> dsl.PipelineTask:
    """Give a task the settings that all steps share.

    Args:
        task: The step.
        given: The parameters; the claim and the limits of steps are taken from them.
        timeout: Seconds for one attempt's pod; 0 where the step's own parameter limits it.
    """
    kubernetes.mount_pvc(task, pvc_name=given["claim"], mount_path=MOUNT_PATH)
    if server.STATES_USER:
        kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.empty_dir_mount(task, volume_name="tmp", mount_path="/tmp")
    if timeout:
        kubernetes.set_timeout(task, timeout)
    kubernetes.use_secret_as_volume(task, TRACKING_SECRET, str(credentials.FOLDER), optional=True)
    task.set_caching_options(False)  # docs/decisions/no-cached-steps.md
    task.set_retry(_RETRIES, backoff_duration="10s", backoff_factor=2.0, backoff_max_duration=f"{RETRY_SECONDS}s")
    # Set at once: each of the task's own setters walks the whole stack first, a third of the compilation's time.
    limits = {"cpu_limit": given["step_cpu"], "memory_limit": given["step_memory"]}
    task.container_spec.resources = ResourceSpec(
        cpu_request="100m", memory_request="512Mi", **{name: str(channel) for name, channel in limits.items()}
    )
    task.register_pipeline_channels(list(limits.values()))
    return task


def asking(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Give a task that asks a served model what lets it through to it, if the namespace has that.

    As files: before KFP 2.15 a Secret that need not be there can only be mounted.
    """
    return kubernetes.use_secret_as_volume(task, ACCESS_SECRET, str(client.FOLDER), optional=True)


def loading(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Give the task that loads the data what lets it in at the source, if the namespace has that."""
    return kubernetes.use_secret_as_volume(task, DATA_SECRET, str(places.CREDENTIALS), optional=True)
