"""A Workflow as Argo leaves it when every node has succeeded, without Argo: enough to know how large it gets.

Each node carries its own inputs, with their values filled in, so the patch of a step's pod stands in four of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from tests.kfp.compiler import CONTAINER_DRIVER, DAG_DRIVER, IMPLEMENTATION, Object, dumped

_REFERENCE = re.compile(r"\{\{([\w.-]+)\}\}")
_MOMENT = "2026-01-01T00:00:00Z"


def finished(
    workflow: Object, drive: Mapping[str, Mapping[str, str]], skipped: Collection[str] = (), attempts: int = 1
) -> Object:
    """Return the Workflow with the status that it has at its end.

    Args:
        workflow: As it was submitted.
        drive: The outputs of each driver, by its task's path.
        skipped: Paths of tasks whose condition does not hold.
        attempts: How often each step runs until it succeeds.
    """
    player = _Player(workflow, drive, skipped, attempts)
    name = workflow["metadata"]["name"]
    player.run("entrypoint", {}, name, name, "")
    status = {
        "phase": "Succeeded",
        "startedAt": _MOMENT,
        "finishedAt": _MOMENT,
        "progress": "14/14",
        "resourcesDuration": {"cpu": 100, "memory": 100},
        "taskResultsCompletionStatus": {node["id"]: True for node in player.nodes if node["type"] == "Pod"},
        "conditions": [{"type": "PodRunning", "status": "False"}, {"type": "Completed", "status": "True"}],
        "artifactGCStatus": {"notSpecified": True},
        "nodes": {node["id"]: node for node in player.nodes},
    }
    return {**workflow, "status": status}


def size(workflow: Object) -> int:
    """Return the bytes that Argo compares with its limit: the whole as JSON; managed fields are the API server's."""
    metadata = {key: value for key, value in workflow["metadata"].items() if key != "managedFields"}
    return len(dumped({**workflow, "metadata": metadata}).encode())


class _Player:
    def __init__(
        self, workflow: Object, drive: Mapping[str, Mapping[str, str]], skipped: Collection[str], attempts: int
    ) -> None:
        spec = workflow["spec"]
        self._name, self._drive = workflow["metadata"]["name"], drive
        self._skipped, self._attempts = skipped, attempts
        self._templates = {template["name"]: template for template in spec["templates"]}
        self._global = {
            f"workflow.parameters.{entry['name']}": entry["value"] for entry in spec["arguments"]["parameters"]
        }
        self.nodes: list[Object] = []

    def run(self, template_name: str, given: Mapping[str, str], name: str, shown: str, boundary: str) -> str:
        """Add the nodes of a template, and return the id of the first."""
        if self._path(name) in self._skipped and not name.endswith("-driver"):
            return str(self._node({"name": template_name}, "Skipped", name, shown, boundary, {})["id"])
        template = self._templates[template_name]
        asked = template.get("inputs", {}).get("parameters", [])
        values = {entry["name"]: given.get(entry["name"], entry.get("default", "")) for entry in asked}
        kind = "DAG" if "dag" in template else "Retry" if template_name == IMPLEMENTATION else "Pod"
        node = self._node(template, kind, name, shown, boundary, values)
        if kind == "Retry":
            for number in range(self._attempts):
                suffix = f"({number})"
                child = self._node(template, "Pod", name + suffix, shown + suffix, boundary, values)
                child |= {"nodeFlag": {"retried": True}, "outputs": {"exitCode": "0"}}
                node.setdefault("children", []).append(child["id"])
            node["outputs"] = {"exitCode": "0"}
        elif kind == "DAG":
            node["children"] = self._dag(template["dag"]["tasks"], values, name, str(node["id"]))
        else:
            outputs = self._outputs(name)
            written = {entry["name"]: entry for entry in template["outputs"]["parameters"]}
            node["outputs"] = {
                "exitCode": "0",
                "parameters": [{**written[key], "value": outputs[key]} for key in written],
            }
        return str(node["id"])

    def _dag(self, tasks: list[Object], values: Mapping[str, str], name: str, boundary: str) -> list[str]:
        known = {**self._global, **{f"inputs.parameters.{key}": value for key, value in values.items()}}
        ids = []
        for task in _in_order(tasks):
            arguments = task.get("arguments", {}).get("parameters", [])
            given = {entry["name"]: _filled(entry["value"], known) for entry in arguments}
            ids.append(self.run(task["template"], given, f"{name}.{task['name']}", task["name"], boundary))
            if task["template"] in (CONTAINER_DRIVER, DAG_DRIVER):
                outputs = self._outputs(f"{name}.{task['name']}")
                known |= {f"tasks.{task['name']}.outputs.parameters.{key}": value for key, value in outputs.items()}
        return ids

    def _outputs(self, name: str) -> Mapping[str, str]:
        return self._drive[self._path(name.removesuffix("-driver"))]

    def _path(self, name: str) -> str:
        return name.removeprefix(f"{self._name}.").replace(".", "/").removeprefix("root/")

    def _node(
        self, template: Object, kind: str, name: str, shown: str, boundary: str, values: Mapping[str, str]
    ) -> Object:
        node: Object = {
            "id": f"{self._name}-{len(self.nodes):010d}",
            "name": name,
            "displayName": shown,
            "type": kind,
            "templateName": template["name"],
            "templateScope": f"local/{self._name}",
            "phase": "Succeeded",
            "boundaryID": boundary,
            "startedAt": _MOMENT,
            "finishedAt": _MOMENT,
            "progress": "1/1",
            "resourcesDuration": {"cpu": 1, "memory": 10},
            "outboundNodes": [f"{self._name}-0000000000"],
        }
        if values:
            node["inputs"] = {"parameters": [{"name": key, "value": value} for key, value in values.items()]}
        if kind == "Pod":
            node |= {"hostNodeName": "this-machine", "taskResultSynced": True}
        self.nodes.append(node)
        return node


def _in_order(tasks: list[Object]) -> list[Object]:
    """Return tasks so that each comes after those that it depends on."""
    done: list[Object] = []
    while len(done) < len(tasks):
        names = {task["name"] for task in done}
        done += [
            task
            for task in tasks
            if task["name"] not in names
            and {word.removesuffix(".Succeeded") for word in task.get("depends", "").split(" && ") if word} <= names
        ]
    return done


def _filled(text: Any, known: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda match: known.get(match[1], match[0]), str(text))
