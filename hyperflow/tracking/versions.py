"""Register a run's model as a version in a Model Registry, so that doing it again changes nothing but what is new.

The version is there from the moment its service is made, whose labels name it; what became of it is a custom property.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from hyperflow.errors import Conflict, Unavailable
from hyperflow.specs import ModelRef, check_run_id, format_value
from hyperflow.tracking.registry import ARCHIVED, LIVE, Held, Properties, Registry, number, text
from hyperflow.volume import cards, paths, records
from hyperflow.volume.records import Deploy, Records

RUN, DATA, ACCURACY, STAGE = "hyperflow.run_id", "hyperflow.data_digest", "hyperflow.accuracy", "hyperflow.stage"
PARAMETER = "hyperflow.parameter."
"""Custom properties of a version; those of hyper-parameters begin with the last."""

DEPLOYED, SERVING, REPLACED, TAKEN_BACK, FAILED = "deployed", "serving", "replaced", "rolled back", "failed"
"""What became of a version: it is being tested, it is what users meet, or it was and is not, or it never was."""

LABEL = "modelregistry.kubeflow.org/"
"""What the registry's controller reads begins with this."""

_STATES = {DEPLOYED: LIVE, SERVING: LIVE, REPLACED: ARCHIVED, TAKEN_BACK: ARCHIVED, FAILED: ARCHIVED}


def register(name: str, model: ModelRef, uri: str, registry: Registry, stage: str = DEPLOYED) -> dict[str, str]:
    """Register a model, and return the labels by which its service names it.

    Args:
        name: The registered model.
        model: The model; its run names the version.
        uri: Where it is.
        registry: Where to register it.
        stage: What became of it.

    Raises:
        Conflict: There is such a version of another model.
        Unavailable: The registry did not do.
    """
    with registry.understood():
        parent = registry.model(name) or registry.make_model(name)
        made = _properties(model, stage)
        version = registry.version(parent, model.run_id)
        version = version or registry.make_version(parent, model.run_id, _STATES[stage], made)
        _refuse_another(registry, name, model, "data digest", version.text(DATA), model.data)
        source = {"modelSourceKind": "pipelines", "modelSourceClass": "pipelinerun", "modelSourceId": model.run_id}
        artifact = registry.artifact(version, model.run_id)
        artifact = artifact or registry.make_artifact(version, model.run_id, {"uri": uri, **source})
        _refuse_another(registry, name, model, "path", artifact.uri, uri)
        _change(registry, version, stage, made)
        ids = {"registered-model-id": parent.id, "model-version-id": version.id}
        return {f"{LABEL}{name}": value for name, value in {**_where(registry.uri), **ids}.items()}


def sync(run_id: str, registry: Registry, state: str = "") -> str:
    """Register what the volume has of a run's model, and mark the one that it replaced.

    Args:
        run_id: The run.
        registry: Where to.
        state: FAILED or KILLED, where that is known of a run that is not complete.

    Returns:
        What became of the version; empty where the run has none, as it deployed no model.

    Raises:
        InvalidParameter: The run's id cannot be one.
        Conflict: There is such a version of another model.
        Unavailable: The registry did not do, or the volume does not say where the model is.
    """
    check_run_id(run_id)
    kept = records.read_all(run_id)
    stage = _stage(run_id, kept, state)
    if not stage or kept.check is None or kept.decide is None:
        return ""
    name = kept.check.model_name
    if kept.deploy is None:
        return stage if _mark(registry, name, run_id, stage) else ""
    if not kept.deploy.uri:
        why = "it was deployed by an earlier version of Hyperflow, which did not write down where its model is"
        raise Unavailable(f"run {run_id} cannot be registered", why, "run it again")
    register(name, kept.decide.candidate, kept.deploy.uri, registry, stage)
    for other in _others(name, kept.deploy, run_id) if kept.predict else ():
        _mark(registry, name, other, SERVING if _is_serving(name, other) else REPLACED)
    return stage


def _stage(run_id: str, kept: Records, state: str) -> str:
    """Tell what became of a run's model; empty where nothing is known to have been registered."""
    if kept.predict:
        return SERVING if _is_serving(kept.predict.endpoint.name, run_id) else REPLACED
    if paths.taken_back(run_id).exists():
        return TAKEN_BACK
    if kept.deploy:
        return DEPLOYED
    return FAILED if state and kept.decide and kept.decide.deploy else ""


def _others(name: str, deployed: Deploy, run_id: str) -> set[str]:
    """Name the runs whose models one may have replaced, whether they were still served then or not."""
    previous = deployed.endpoint.previous
    return {*cards.gone_live(name), previous.run_id if previous else ""} - {"", run_id}


def _is_serving(name: str, run_id: str) -> bool:
    return cards.gone_live(name)[-1:] == [run_id]


def _mark(registry: Registry, name: str, run_id: str, stage: str) -> bool:
    """Say what became of a version, if there is such a one."""
    with registry.understood():
        parent = registry.model(name)
        version = registry.version(parent, run_id) if parent else None
        if version:
            _change(registry, version, stage, {})
        return version is not None


def _change(registry: Registry, version: Held, stage: str, properties: Properties) -> None:
    """Have a version say what became of it, unless it does."""
    wanted = {**properties, STAGE: text(stage)}
    if version.state != _STATES[stage] or not wanted.items() <= version.properties.items():
        registry.change_version(version, _STATES[stage], wanted)


def _properties(model: ModelRef, stage: str) -> dict[str, Properties]:
    values = {f"{PARAMETER}{name}": text(format_value(value)) for name, value in model.parameters.items()}
    known = {RUN: text(model.run_id), DATA: text(model.data), ACCURACY: number(model.accuracy), STAGE: text(stage)}
    return {**known, **values}


def _refuse_another(registry: Registry, name: str, model: ModelRef, what: str, there: str, ours: str) -> None:
    if there != ours:
        raise Conflict(
            f"version {model.run_id} of {name} in the Model Registry {registry.uri} is another model",
            f"its {what} is {there or 'not said'}, and this one's {ours}",
            "delete or rename that version, or register under another model_name",
        )  # fmt: skip


def _where(uri: str) -> dict[str, str]:
    """Name the registry's Service, where its address is one of the cluster: its controller asks which one it is."""
    host = (urlsplit(uri).hostname or "").split(".")
    return {"name": host[0], "namespace": host[1]} if host[2:3] == ["svc"] else {}
