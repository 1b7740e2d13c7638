"""What KFP's driver finds out for each task of a pipeline: its parameters, and the patch for its pod.

The parameters are the pipeline's defaults; what another task would have put out is a text of a usual length.
"""

from __future__ import annotations

from typing import Any

from tests.kfp.compiler import LAUNCHER, Compiler, Object, dumped

OUTPUT = "/mnt/hyperflow/models/fashion-mnist/" + "0" * 36
_ROOT = "minio://mlpipeline/v2/artifacts"
_RUN = "0" * 36


def drive(name: str, specification: Object, platform: Object) -> dict[str, Object]:
    """Return the outputs of every driver of a pipeline, by its path: `release/condition-1/deploy`."""
    found: dict[str, Object] = {}
    components = {**specification["components"], "root": specification["root"]}

    def visit(path: str, key: str, values: Object) -> None:
        for task_name, task in components[key]["dag"]["tasks"].items():
            inputs = task.get("inputs", {}).get("parameters", {})
            given = {parameter: _resolved(source, values) for parameter, source in inputs.items()}
            inner, at = task["componentRef"]["name"], f"{path}{task_name}"
            if "dag" in components[inner]:
                found[at] = {"execution-id": "12", "iteration-count": "0", "condition": "true"}
                visit(f"{at}/", inner, given)
            else:
                label = components[inner]["executorLabel"]
                container = specification["deploymentSpec"]["executors"][label]["container"]
                patch = _patch(name, task_name, container, components[inner], platform[label], given)
                found[at] = {"pod-spec-patch": dumped(patch), "cached-decision": "false", "condition": "true"}

    found["root"] = {"execution-id": "1", "iteration-count": "0", "condition": "true"}
    visit("", "root", Compiler(specification, platform).defaults())
    return found


def _resolved(source: Object, values: Object) -> Any:
    if "runtimeValue" in source:
        return source["runtimeValue"]["constant"]
    if "componentInputParameter" in source:
        return values.get(source["componentInputParameter"])
    return OUTPUT


def _patch(pipeline: str, task: str, container: Object, component: Object, platform: Object, given: Object) -> Object:
    """Return the patch: the launcher with all that it is told, before the step's own command."""
    words = [
        LAUNCHER, "--pipeline_name", pipeline, "--run_id", _RUN, "--execution_id", "123",
        "--executor_input", dumped(_executor_input(pipeline, task, component, given)),
        "--component_spec", dumped(component), "--pod_name", "$(KFP_POD_NAME)", "--pod_uid", "$(KFP_POD_UID)",
        "--mlmd_server_address", "metadata-grpc-service.kubeflow.svc.cluster.local", "--mlmd_server_port", "8080",
        "--publish_logs", "true", "--",
    ]  # fmt: skip
    (claim,), (empty,) = platform["pvcMount"], platform["emptyDirMounts"]
    secrets = platform.get("secretAsVolume", [])
    main = {
        "name": "main",
        "image": container["image"],
        "command": words,
        "args": [*container["command"], *container["args"]],
        "resources": {"limits": {"memory": "2Gi"}, "requests": {"cpu": "100m", "memory": "512Mi"}},
        "volumeMounts": [
            {"name": "hyperflow", "mountPath": claim["mountPath"]},
            {"name": empty["volumeName"], "mountPath": empty["mountPath"]},
            *({"name": secret["secretName"], "mountPath": secret["mountPath"]} for secret in secrets),
        ],
    }
    volumes: list[Object] = [
        {"name": "hyperflow", "persistentVolumeClaim": {"claimName": "hyperflow"}},
        {"name": empty["volumeName"], "emptyDir": {}},
        *(
            {"name": name, "secret": {"secretName": name, "optional": True}}
            for name in (s["secretName"] for s in secrets)
        ),
    ]
    patch: Object = {"containers": [main], "volumes": volumes}
    if seconds := platform.get("activeDeadlineSeconds"):
        patch["activeDeadlineSeconds"] = int(seconds)
    return patch


def _executor_input(pipeline: str, task: str, component: Object, given: Object) -> Object:
    outputs = component.get("outputDefinitions", {})
    folder = f"{_ROOT}/{pipeline}/{_RUN}/{task}/{_RUN}"
    written = {**outputs.get("artifacts", {}), "executor-logs": {"artifactType": {"schemaTitle": "system.Artifact"}}}
    artifacts = {
        name: {"artifacts": [{"name": name, "type": entry["artifactType"], "uri": f"{folder}/{name}", "metadata": {}}]}
        for name, entry in written.items()
    }
    values = {name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in outputs.get("parameters", {})}
    return {
        "inputs": {"parameterValues": given},
        "outputs": {
            "artifacts": artifacts,
            "parameters": values,
            "outputFile": "/tmp/kfp_outputs/output_metadata.json",
        },
    }
