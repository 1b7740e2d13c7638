"""What the manifests' Roles allow, as the emulated API server is told it."""

from __future__ import annotations

from pathlib import Path

import yaml

Right = tuple[str, str, str]
"""API group, resource and verb."""

BASE = Path(__file__).parents[2] / "manifests" / "base"


def rights(name: str) -> frozenset[Right]:
    """Return the rights of a Role."""
    (role,) = [
        item for path in BASE.glob("*.yaml") for item in yaml.safe_load_all(path.read_text())
        if item["kind"] == "Role" and item["metadata"]["name"] == name
    ]  # fmt: skip
    return frozenset(
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    )
