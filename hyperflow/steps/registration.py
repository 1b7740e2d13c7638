"""A model in the Model Registry before it is served, so that its service can say which version it serves."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace

from hyperflow.engines import get_engine
from hyperflow.errors import HyperflowError
from hyperflow.specs import ServeSpec
from hyperflow.steps import endings
from hyperflow.volume import notices, records
from hyperflow.volume.records import Asked

_SUBJECT = "labels"


def labelled(spec: ServeSpec) -> ServeSpec:
    """Register a model where its run asks for that, and give it the labels by which its service names it.

    Where the registry does not do, it is a warning, and the service has no such labels. The step's end tries again to
    register it.
    """
    asked = records.read(spec.run_id, Asked)
    address = asked.values.get("model_registry") if asked else None
    if not address:
        return spec
    warning = ""
    try:
        from hyperflow.tracking.registry import Registry
        from hyperflow.tracking.versions import register

        registry = Registry(address, seconds=endings.SECONDS, total=endings.TOTAL)
        labels = register(spec.name, spec.model, get_engine().uri(spec), registry)
        spec = replace(spec, model=replace(spec.model, labels=labels))
    except Exception as error:  # a registry never keeps a model from being served
        why = str(error) if isinstance(error, HyperflowError) else f"{type(error).__name__}: {error}"
        warning = f"the service {spec.name} does not name its version in the Model Registry: {why}"
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    with contextlib.suppress(HyperflowError):
        notices.keep(spec.run_id, f"model_registry-{_SUBJECT}", warning)
    return spec
