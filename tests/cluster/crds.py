"""The CRDs of Katib, the Training Operator and KServe: where they are and when the API server serves them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client as k8s


def load_crds(cache: Path) -> list[dict[str, Any]]:
    """Return the CRDs of config/, of the modules, and of `HYPERFLOW_CRDS` or ../shared/crds; later ones win."""
    beside = Path(__file__).parents[2].parent / "shared" / "crds"
    folders = [Path(__file__).parent / "config", cache / "crds", Path(os.environ.get("HYPERFLOW_CRDS") or beside)]
    files = [path for folder in folders for path in sorted(folder.glob("*.yaml"))]
    objects = [obj for path in files for obj in load_yaml(path) if obj.get("kind") == "CustomResourceDefinition"]
    return list({obj["metadata"]["name"]: obj for obj in objects}.values())


def load_yaml(path: Path) -> list[dict[str, Any]]:
    """Return the objects in a YAML file."""
    # The CRD of InferenceService alone has 39,000 lines; the loader in C reads it ten times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [obj for obj in yaml.load_all(path.read_text(), Loader=loader) if obj]


def wait_until_served(api: k8s.ApiClient, names: set[str], seconds: float = 120) -> None:
    """Return when the API server serves the CRDs called `names`.

    Raises:
        TimeoutError: If it does not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while waiting := names - _established(api):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not served after {seconds:.0f} s: {', '.join(sorted(waiting))}")
        time.sleep(0.05)


def _established(api: k8s.ApiClient) -> set[str]:
    return {
        crd.metadata.name
        for crd in k8s.ApiextensionsV1Api(api).list_custom_resource_definition().items
        for condition in crd.status.conditions or []
        if condition.type == "Established" and condition.status == "True"
    }
