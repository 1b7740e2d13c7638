"""What the cluster tests run: the upstream modules, their releases and the binaries wanted from them."""

from __future__ import annotations

from dataclasses import dataclass

KUBERNETES, TRAINING_OPERATOR, KATIB, KSERVE = "1.34.4", "1.9.0", "0.19.0", "0.20.0"
RELEASES = f"kubernetes-{KUBERNETES}_training-operator-{TRAINING_OPERATOR}_kserve-{KSERVE}_katib-{KATIB}"
"""Name of the folder of what is built from them."""

STAGING = "v0" + KUBERNETES.removeprefix("1")
"""Release of the k8s.io modules that Kubernetes itself replaces by folders of its repository."""


@dataclass(frozen=True)
class Binary:
    """One main package, and how long it takes to build on two cores with nothing cached."""

    name: str
    package: str
    minutes: float
    ldflags: str = ""


@dataclass(frozen=True)
class Module:
    """An upstream module at one release, the binaries wanted from it and where its CRDs are."""

    path: str
    version: str
    binaries: tuple[Binary, ...]
    crds: tuple[str, ...] = ()


CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager")
NEEDED = (*CONTROL_PLANE, "training-operator", "kserve-controller")
"""Binaries that the tests run; Katib's, where they could be built, still have no test."""

_STAMP = f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES}"

MODULES = (
    Module(
        "k8s.io/kubernetes",
        KUBERNETES,
        (
            # Kubernetes requires the release of etcd that it is tested with, so both share one module and its packages.
            Binary("etcd", "go.etcd.io/etcd/server/v3", 2),
            Binary("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", 5, _STAMP),
            Binary("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", 2, _STAMP),
        ),
    ),
    Module(
        "github.com/kubeflow/training-operator",
        TRAINING_OPERATOR,
        (Binary("training-operator", "github.com/kubeflow/training-operator/cmd/training-operator.v1", 3),),
        ("manifests/base/crds/kubeflow.org_tfjobs.yaml",),
    ),
    Module(
        "github.com/kserve/kserve",
        KSERVE,
        (Binary("kserve-controller", "github.com/kserve/kserve/cmd/manager", 4),),
        ("config/crd/full/serving*.yaml", "config/crd/full/clusterstoragecontainer/serving*.yaml"),
    ),
    Module(
        "github.com/kubeflow/katib",
        KATIB,
        (
            Binary("katib-controller", "github.com/kubeflow/katib/cmd/katib-controller/v1beta1", 5),
            Binary("katib-db-manager", "github.com/kubeflow/katib/cmd/db-manager/v1beta1", 1),
            Binary("katib-goptuna", "github.com/kubeflow/katib/cmd/suggestion/goptuna/v1beta1", 1),
            Binary(
                "katib-file-metricscollector",
                "github.com/kubeflow/katib/cmd/metricscollector/v1beta1/file-metricscollector",
                1,
            ),
        ),
    ),
)
