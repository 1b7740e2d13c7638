"""Create or adopt, read and delete the objects of a run: what searches and trainings of every kind have in common."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus

from hyperflow.engines.kubeflow.cluster import ApiError, Cluster
from hyperflow.engines.kubeflow.manifests.common import QUEUE_LABEL, RUN_LABEL, SPEC_ANNOTATION, Manifest
from hyperflow.engines.kubeflow.owner import owner_reference, run_is_over, workflow_of
from hyperflow.engines.kubeflow.resources import Resource
from hyperflow.engines.kubeflow.watch import Watch
from hyperflow.errors import Cancelled, Conflict, HyperflowError, JobTimeout
from hyperflow.specs import TrainSpec, TuneSpec

_PARTING_SECONDS = 20.0
NO_LIMIT = 1e7
"""Seconds for what is not to be counted: four months."""


SUCCEEDED, FAILED = ("Succeeded", "Complete"), ("Failed",)
"""The conditions by which our kinds of jobs say how they ended; one that has failed may have another beside it."""


def create_or_adopt(cluster: Cluster, resource: Resource, manifest: Manifest) -> Manifest:
    """Create an object owned by our Workflow, or take on the one that an earlier attempt of this step made.

    Raises:
        Conflict: The name is taken by an object of another run or another spec.
    """
    owner = owner_reference(cluster)
    metadata = {**manifest["metadata"], "ownerReferences": [owner]} if owner else manifest["metadata"]
    while True:
        try:
            return cluster.create(resource, {**manifest, "metadata": metadata})
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
        live = cluster.get(resource, metadata["name"])
        if live is None:
            continue  # it went between the two requests
        _check_ours(resource, live, manifest)
        if "deletionTimestamp" not in live["metadata"]:
            return live
        _await_deletion(cluster, resource, live)


def create_beside(cluster: Cluster, resource: Resource, manifest: Manifest, owner: Manifest, kind: Resource) -> None:
    """Create an object that goes when another one does; one that an earlier owner has left behind is replaced.

    Raises:
        Conflict: The name is taken by an object of another run.
    """
    reference = {
        "apiVersion": kind.api.removeprefix("/apis/"), "kind": kind.kind,
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
    }  # fmt: skip
    name, owned = manifest["metadata"]["name"], {**manifest["metadata"], "ownerReferences": [reference]}
    while True:
        try:
            cluster.create(resource, {**manifest, "metadata": owned})
            return
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
        live = cluster.get(resource, name)
        if live is None:
            continue  # it went between the two requests
        if any(each["uid"] == reference["uid"] for each in live["metadata"].get("ownerReferences", [])):
            return
        _check_ours(resource, live, manifest)
        cluster.delete(resource, name, live["metadata"]["uid"])


def belongs_to(cluster: Cluster, resource: Resource, spec: TrainSpec | TuneSpec) -> bool:
    """Tell whether this run has made an object of the spec's name already."""
    live = cluster.get(resource, spec.name)
    return live is not None and live["metadata"].get("labels", {}).get(RUN_LABEL) == spec.run_id


def failed(item: Manifest) -> Manifest | None:
    """Return the condition by which an object says that it has failed, or None."""
    return next((found for kind in FAILED if (found := condition(item, kind))), None)


def has_ended(item: Manifest) -> bool:
    """Tell whether an object says that it has ended, well or badly."""
    return any(condition(item, kind) for kind in (*FAILED, *SUCCEEDED))


def condition(item: Manifest, kind: str) -> Manifest | None:
    """Return a condition that holds, or None."""
    for entry in item.get("status", {}).get("conditions") or []:
        if entry["type"] == kind and entry["status"] == "True":
            return dict(entry)
    return None


def seconds_left(item: Manifest, timeout: float) -> float:
    """Return how much of an object's time is left; a retried step gets no more of it, and a queue takes none of it.

    Kueue suspends a job that has to wait for its quota; once it lets it go, the operator takes the condition back and
    notes anew when the job starts, both at once.
    """
    policy = item.get("spec", {}).get("runPolicy", {})
    if policy.get("suspend") or condition(item, "Suspended"):
        return NO_LIMIT
    queued = "suspend" in policy or QUEUE_LABEL in item["metadata"].get("labels", {})
    started = item.get("status", {}).get("startTime") if queued else None
    began = datetime.fromisoformat(started or item["metadata"]["creationTimestamp"])
    return began.timestamp() + timeout - time.time()


@contextmanager
def deleted_unless_ended(cluster: Cluster, resource: Resource, item: Manifest) -> Iterator[None]:
    """Delete the object as the very first thing when the body runs out of time, or is stopped for good.

    A pod that is drained or evicted is told to stop as one of a terminated run is. Then its step may be run again, and
    takes on what it finds: that is deleted only where the run is over, and by `reap` where nobody can tell.
    """
    try:
        yield
    except (KeyboardInterrupt, Cancelled, JobTimeout) as error:
        _part(cluster.with_patience(_PARTING_SECONDS), resource, item, for_good=isinstance(error, JobTimeout))
        raise


def delete_for(cluster: Cluster, resource: Resource, item: Manifest, *, for_good: bool) -> None:
    """Delete one of several objects that are given up together.

    Args:
        cluster: Where it is.
        resource: Its kind.
        item: The object.
        for_good: Whether nobody will want it again; where that is not known, it stays as long as its run goes on.
    """
    _part(cluster.with_patience(_PARTING_SECONDS), resource, item, for_good=for_good)


def _part(cluster: Cluster, resource: Resource, item: Manifest, *, for_good: bool) -> None:
    """Delete an object that nobody wants any more, in two requests: a terminated step is killed within a second."""
    name = item["metadata"]["name"]
    try:
        if for_good or _is_unwanted(cluster, item):
            cluster.delete(resource, name, item["metadata"]["uid"])
        else:
            print(f"{resource.kind} {name} runs on: its run has not ended, and may start this step again", flush=True)
    except HyperflowError as error:
        print(f"{resource.kind} {name} may still run: {error}", flush=True)


def _is_unwanted(cluster: Cluster, item: Manifest) -> bool:
    owner = workflow_of(item)
    return owner is None or run_is_over(cluster, owner)


def _check_ours(resource: Resource, live: Manifest, manifest: Manifest) -> None:
    name, metadata = manifest["metadata"]["name"], live["metadata"]
    run = metadata.get("labels", {}).get(RUN_LABEL)
    wanted = manifest["metadata"]["labels"][RUN_LABEL]
    if run != wanted:
        owner = f"belongs to run {run}" if run else "was not made by Hyperflow"
        remedy = f"look at it with `kubectl get {resource.plural} {name} -o yaml`, and delete or rename it"
        raise Conflict(f"{resource.kind} {name} is in the way", f"it {owner}; this is run {wanted}", remedy)
    ours = manifest["metadata"]["annotations"][SPEC_ANNOTATION]
    theirs = metadata.get("annotations", {}).get(SPEC_ANNOTATION)
    if theirs != ours:
        remedy = (
            f"use the parameters of the first attempt, start a new run, or `kubectl delete {resource.plural} {name}`"
        )
        raise Conflict(f"{resource.kind} {name} has another specification", f"it has {theirs}, not {ours}", remedy)


def _await_deletion(cluster: Cluster, resource: Resource, live: Manifest) -> None:
    name, uid = live["metadata"]["name"], live["metadata"]["uid"]
    watch = Watch(cluster, resource, fieldSelector=f"metadata.name={name}")
    timer = threading.Timer(_PARTING_SECONDS * 3, watch.close)
    timer.start()
    try:
        current = cluster.get(resource, name)
        if current is None or current["metadata"]["uid"] != uid:
            return
        for change in watch:
            if change.deleted or change.object["metadata"]["uid"] != uid:
                return
    finally:
        timer.cancel()
        watch.close()
    raise Conflict(
        f"{resource.kind} {name} is being deleted", "it has not gone after a minute", "look at its finalizers"
    )
