"""Is the volume claim there, and can all pods mount it?"""

from __future__ import annotations

from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.preflight.check import OVERLAY, Check, Status, read
from hyperflow.engines.kubeflow.resources import CLAIM, STORAGE_CLASS


def claim(cluster: Cluster, name: str, pods: int) -> Check:
    """Check that the claim is there and can be mounted by as many pods as will."""
    title = f"volume claim {name}"
    found, refusal = read(cluster, CLAIM, name)
    if refusal:
        return Check(title, "warn", refusal, "apply manifests/ to the namespace")
    if found is None:
        return Check(title, "fail", f"there is none in {cluster.namespace}", f"{OVERLAY}, or give the parameter claim")
    modes = found["spec"].get("accessModes", [])
    if "ReadWriteMany" not in modes and pods > 1:
        why = f"access mode {', '.join(modes)}, for up to {pods} pods at once"
        mend = "make a claim with ReadWriteMany and a storage class that has it (NFS, CephFS, EFS, Filestore)"
        status: Status = "fail" if "ReadWriteOncePod" in modes else "warn"
        return Check(title, status, f"{why}: they must all be on one node", mend)
    phase = found.get("status", {}).get("phase", "Pending")
    return _unbound(cluster, title, found) if phase != "Bound" else Check(title, "ok", f"bound, {', '.join(modes)}")


def _unbound(cluster: Cluster, title: str, found: Manifest) -> Check:
    """Tell a claim that waits for its first pod from one that nothing will ever bind."""
    name = found["spec"].get("storageClassName")
    command = f"kubectl -n {cluster.namespace} describe pvc {found['metadata']['name']}"
    if not name:
        return Check(title, "fail", "not bound, and it names no storage class", f"name one (kubectl get sc); {command}")
    storage, refusal = read(cluster, STORAGE_CLASS, name)
    if refusal:
        return Check(title, "warn", f"not bound; {refusal}", command)
    if storage is None:
        return Check(title, "fail", f"not bound: there is no storage class {name}", f"kubectl get sc; {command}")
    if storage.get("volumeBindingMode") == "WaitForFirstConsumer":
        return Check(title, "ok", f"will be bound by its first pod ({name})")
    return Check(title, "fail", f"not bound, although storage class {name} is there", command)
