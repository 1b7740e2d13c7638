"""The Workflow that the API server of KFP 2.17 makes of a compiled pipeline, as read in its compiler.

KFP's server is no Go module that could be built here. This follows its `argocompiler` for what our pipelines have:
tasks, pipelines in pipelines, conditions and retries; no loops, no exit handlers. Its drivers are pods here, whose
program a test gives; where KFP runs them as an Argo plugin, their nodes have the same inputs and outputs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hyperflow.volume import MOUNT_PATH

Object = dict[str, Any]

BUILD = Path(__file__).parents[2] / "build"
LAUNCHER = "/kfp-launcher/launch"
CONTAINER_DRIVER, DAG_DRIVER = "system-container-driver", "system-dag-driver"
EXECUTOR, IMPLEMENTATION = "retry-system-container-executor", "retry-system-container-impl"
RETRY = ("retry-max-count", "retry-backoff-duration", "retry-backoff-factor", "retry-backoff-max-duration")

_SCRATCH = {"gcs-scratch": "/gcs", "s3-scratch": "/s3", "minio-scratch": "/minio"} | {
    f"dot-{name}-scratch": f"/.{name}" for name in ("local", "cache", "config")
}
_RESOURCES = {"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}}


def load(name: str) -> tuple[Object, Object]:
    """Return a compiled pipeline and the Kubernetes settings of its executors."""
    specification, platform = yaml.load_all((BUILD / f"{name}.yaml").read_text(), Loader=yaml.CSafeLoader)
    return specification, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


class Compiler:
    """One pipeline.

    Args:
        specification: The compiled pipeline.
        platform: The Kubernetes settings of its executors.
        programs: The commands in the places of KFP's driver and of its launcher's copier.
        claim: A claim that drivers mount too, to find what they are to hand out.
    """

    def __init__(
        self,
        specification: Object,
        platform: Object,
        programs: Mapping[str, Sequence[str]] | None = None,
        claim: str = "",
    ) -> None:
        self._specification, self._platform = specification, platform
        self._programs = programs or {"driver": ["driver"], "launcher": ["launcher-v2"]}
        self._components = {**specification["components"], "root": specification["root"]}
        self._claim, self._arguments = claim, dict[str, str]()

    def workflow(self, name: str, run_id: str, account: str) -> Object:
        """Return the Workflow of a run whose parameters are the defaults."""
        templates = [
            self._driver(CONTAINER_DRIVER, _CONTAINER_INPUTS, _CONTAINER_OUTPUTS),
            *executor_templates(self._programs["launcher"]),
            self._driver(DAG_DRIVER, _DAG_INPUTS, _DAG_OUTPUTS),
            *(self._dag(key) for key, component in self._components.items() if "dag" in component),
            self._entrypoint(),
        ]
        labels = {"pipeline/runid": run_id, "pipelines.kubeflow.org/v2_component": "true"}
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": name, "labels": {"pipeline/runid": run_id}},
            "spec": {
                "arguments": parameters(self._arguments),
                "entrypoint": "entrypoint",
                "serviceAccountName": account,
                "podMetadata": {"labels": labels, "annotations": {"pipelines.kubeflow.org/v2_component": "true"}},
                "templates": templates,
            },
        }

    def defaults(self) -> Object:
        """Return the pipeline's parameters with their defaults."""
        given = self._specification["root"]["inputDefinitions"]["parameters"]
        return {name: entry.get("defaultValue") for name, entry in given.items()}

    def _entrypoint(self) -> Object:
        config = dumped({"parameterValues": self.defaults()})
        given = {"component": self._component("root"), "runtime-config": config, "driver-type": "ROOT_DAG"}
        driver = {"name": "root-driver", "template": DAG_DRIVER, "arguments": parameters(given)}
        return {"name": "entrypoint", "dag": {"tasks": [driver, _dag_task("root", "root", "root-driver")]}}

    def _dag(self, key: str) -> Object:
        tasks = self._components[key]["dag"]["tasks"]
        steps = [step for name in sorted(tasks) for step in self._task(name, tasks[name])]
        return {"name": key, "inputs": {"parameters": [{"name": "parent-dag-id"}]}, "dag": {"tasks": steps}}

    def _task(self, name: str, task: Object) -> list[Object]:
        key, driver = task["componentRef"]["name"], f"{name}-driver"
        given = {
            "component": self._component(key),
            "task": dumped(task),
            "task-name": name,
            "parent-dag-id": "{{inputs.parameters.parent-dag-id}}",
        }
        before = " && ".join(f"{other}.Succeeded" for other in task.get("dependentTasks", []))
        first: Object = {"name": driver, "depends": before} if before else {"name": driver}
        condition = f"{{{{tasks.{driver}.outputs.parameters.condition}}}} != false"
        when = {"when": condition} if "triggerPolicy" in task else {}
        if "dag" in self._components[key]:
            first |= {"template": DAG_DRIVER, "arguments": parameters(given)}
            return [first, {**_dag_task(name, key, driver), **when}]
        given |= {"container": self._implementation(key), "kubernetes-config": self._kubernetes(key)}
        first |= {"template": CONTAINER_DRIVER, "arguments": parameters(given)}
        outputs = f"{{{{tasks.{driver}.outputs.parameters."
        passed = {
            "pod-spec-patch": f"{outputs}pod-spec-patch}}}}",
            "cached-decision": f"{outputs}cached-decision}}}}",
            **retry_policy(task),
        }
        second = {"name": name, "template": EXECUTOR, "depends": f"{driver}.Succeeded", "arguments": parameters(passed)}
        return [first, {**second, **when}]

    def _component(self, key: str) -> str:
        return self._argument("components", key, self._components[key])

    def _implementation(self, key: str) -> str:
        label = self._components[key]["executorLabel"]
        container = self._specification["deploymentSpec"]["executors"][label]["container"]
        return self._argument("implementations", key, container)

    def _kubernetes(self, key: str) -> str:
        label = self._components[key]["executorLabel"]
        return self._argument("kubernetes", key, self._platform[label])

    def _argument(self, kind: str, key: str, value: Object) -> str:
        """Keep a value once for each content, and return what refers to it."""
        text = dumped(value)
        name = f"{kind}-{'root' if key == 'root' else hashlib.sha256(text.encode()).hexdigest()}"
        self._arguments[name] = text
        return f"{{{{workflow.parameters.{name}}}}}"

    def _driver(self, name: str, inputs: Mapping[str, str | None], outputs: Mapping[str, str | None]) -> Object:
        words = [word for key in inputs for word in (f"--{key}", f"{{{{inputs.parameters.{key}}}}}")]
        words += [word for key in outputs for word in (f"--{key}-path", f"{{{{outputs.parameters.{key}.path}}}}")]
        written = [
            {"name": key, "valueFrom": {"path": f"/tmp/outputs/{key}", **_default(default)}}
            for key, default in outputs.items()
        ]
        read = [{"name": key, **_default(default)} for key, default in inputs.items()]
        container: Object = {"image": "driver", "command": [*self._programs["driver"]], "args": words}
        template: Object = {"name": name, "inputs": {"parameters": read}, "outputs": {"parameters": written}}
        if self._claim:
            container["volumeMounts"] = [{"name": "claim", "mountPath": MOUNT_PATH}]
            template["volumes"] = [{"name": "claim", "persistentVolumeClaim": {"claimName": self._claim}}]
        return {**template, "container": {**container, "resources": _RESOURCES}}


_CONTAINER_INPUTS = {
    "component": None, "task": None, "container": None, "task-name": None, "parent-dag-id": None,
    "iteration-index": "-1", "kubernetes-config": "",
}  # fmt: skip
_CONTAINER_OUTPUTS = {"pod-spec-patch": "", "cached-decision": "false", "condition": "true"}
_DAG_INPUTS = {
    "component": None, "runtime-config": "", "task": "", "task-name": "", "parent-dag-id": "0",
    "iteration-index": "-1", "driver-type": "DAG",
}  # fmt: skip
_DAG_OUTPUTS = {"execution-id": None, "iteration-count": "0", "condition": "true"}


def executor_templates(launcher: Sequence[str]) -> list[Object]:
    """Return the templates that run a step, with `launcher` to copy the program that starts it."""
    names = ["pod-spec-patch", "cached-decision", *RETRY]
    passed = {name: f"{{{{inputs.parameters.{name}}}}}" for name in names if name != "cached-decision"}
    executor = {"name": "executor", "template": IMPLEMENTATION, "arguments": parameters(passed)}
    executor["when"] = "{{inputs.parameters.cached-decision}} != true"
    optional = {"cached-decision": "false", **dict.fromkeys(RETRY, "0")}
    inputs = [{"name": name, **_default(optional.get(name))} for name in names]
    return [
        {"name": EXECUTOR, "inputs": {"parameters": inputs}, "dag": {"tasks": [executor]}},
        _implementation([name for name in names if name != "cached-decision"], launcher),
    ]


def _implementation(names: Sequence[str], launcher: Sequence[str]) -> Object:
    mount = {"name": "kfp-launcher", "mountPath": str(Path(LAUNCHER).parent)}
    mounts = [mount, *({"name": name, "mountPath": path} for name, path in _SCRATCH.items())]
    fields = {"KFP_POD_NAME": "metadata.name", "KFP_POD_UID": "metadata.uid"}
    env = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    count, duration, factor, longest = (f"{{{{inputs.parameters.{name}}}}}" for name in RETRY)
    copier = {"name": "kfp-launcher", "image": "launcher", "command": [*launcher], "args": ["--copy", LAUNCHER]}
    return {
        "name": IMPLEMENTATION,
        "inputs": {"parameters": [{"name": name} for name in names]},
        "podSpecPatch": "{{inputs.parameters.pod-spec-patch}}",
        "volumes": [{"name": name, "emptyDir": {}} for name in ("kfp-launcher", *_SCRATCH)],
        "initContainers": [{**copier, "volumeMounts": [mount]}],
        "container": {
            "image": "overridden",
            "command": ["overridden"],
            "volumeMounts": mounts,
            "envFrom": [{"configMapRef": {"name": "metadata-grpc-configmap", "optional": True}}],
            "env": [*env, {"name": "KFP_RETRY_INDEX", "value": "{{retries}}"}],
        },
        "retryStrategy": {
            "limit": count,
            "backoff": {"duration": duration, "factor": factor, "maxDuration": longest},
        },
    }


def retry_policy(task: Object) -> dict[str, str]:
    """Return the parameters that KFP makes of a task's retry policy: plain numbers of seconds."""
    policy = task["retryPolicy"]
    values = [policy["maxRetryCount"], policy["backoffDuration"], policy["backoffFactor"], policy["backoffMaxDuration"]]
    return {name: str(value).removesuffix("s").removesuffix(".0") for name, value in zip(RETRY, values, strict=True)}


def parameters(values: Mapping[str, str]) -> Object:
    """Return arguments as Argo has them."""
    return {"parameters": [{"name": name, "value": value} for name, value in values.items()]}


def dumped(value: object) -> str:
    """Return JSON as Go's encoder writes it: without blanks, in the order of the keys."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _default(value: str | None) -> dict[str, str]:
    return {} if value is None else {"default": value}


def _dag_task(name: str, template: str, driver: str) -> Object:
    given = parameters({"parent-dag-id": f"{{{{tasks.{driver}.outputs.parameters.execution-id}}}}", "condition": ""})
    return {"name": name, "template": template, "depends": f"{driver}.Succeeded", "arguments": given}
