"""What the cluster tests run: the upstream modules, their releases and the binaries wanted from them."""

from __future__ import annotations

import re
from dataclasses import dataclass

KUBERNETES, TRAINING_OPERATOR, KATIB, KSERVE, ARGO = "1.34.4", "1.9.0", "0.19.0", "0.20.0", "4.0.5"
TRAINER, JOBSET = "2.3.0", "0.12.0"
RELEASES = (
    f"kubernetes-{KUBERNETES}_training-operator-{TRAINING_OPERATOR}_trainer-{TRAINER}_jobset-{JOBSET}_kserve-{KSERVE}"
    f"_katib-{KATIB}_argo-{ARGO}"
)
"""Name of the folder of what is built from them."""

MODEL_REGISTRY = "0.2.22"
"""Not in the folder's name but in its binary's, so that it was added to what was there."""

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
    """An upstream module at one release, the binaries wanted from it and where its CRDs are.

    A module's archive holds no symbolic links: `links` are those that its packages need, each with what it names. Nor
    has it folders of the repository that are modules of their own: `beside` is the release of those.
    """

    path: str
    version: str
    binaries: tuple[Binary, ...]
    crds: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    beside: str = STAGING

    @property
    def name(self) -> str:
        """The last part of its path that is no major version."""
        return next(part for part in reversed(self.path.split("/")) if not re.fullmatch(r"v\d+", part))


CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager")
KATIB_SERVERS = ("katib-controller", "katib-db-manager", "katib-goptuna", "katib-file-metricscollector")
OPERATORS = ("training-operator", "trainer-controller", "jobset-controller", "kserve-controller")
NEEDED = (*CONTROL_PLANE, *OPERATORS, *KATIB_SERVERS, "workflow-controller", "argoexec")
"""Binaries that the tests run."""

_STAMP = f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES}"

KATIB_MODULE = Module(
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
    ("manifests/v1beta1/components/crd/*.yaml",),
)

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
        "sigs.k8s.io/jobset",
        JOBSET,
        (Binary("jobset-controller", "sigs.k8s.io/jobset", 10),),
        ("config/components/crd/bases/*.yaml",),
    ),
    Module(
        "github.com/kubeflow/trainer/v2",
        TRAINER,
        (Binary("trainer-controller", "github.com/kubeflow/trainer/v2/cmd/trainer-controller-manager", 8),),
        ("manifests/base/crds/trainer.kubeflow.org_*.yaml",),
    ),
    Module(
        "github.com/kserve/kserve",
        KSERVE,
        (Binary("kserve-controller", "github.com/kserve/kserve/cmd/manager", 4),),
        ("config/crd/full/serving*.yaml", "config/crd/full/clusterstoragecontainer/serving*.yaml"),
    ),
    KATIB_MODULE,
    Module(
        "github.com/argoproj/argo-workflows/v4",
        ARGO,
        (
            Binary("workflow-controller", "github.com/argoproj/argo-workflows/v4/cmd/workflow-controller", 6),
            Binary("argoexec", "github.com/argoproj/argo-workflows/v4/cmd/argoexec", 3),
        ),
        # Those with schemas take the API server longer than all else together, and Hyperflow writes no Workflow.
        ("manifests/base/crds/minimal/argoproj.io_*.yaml",),
        (("workflow/executor/osspecific/signal_linux.go", "signal_darwin.go"),),
    ),
    # The types of its API are a module that was not released with it; those of 0.3.2 have what it uses.
    Module(
        "github.com/kubeflow/model-registry",
        MODEL_REGISTRY,
        (Binary(f"model-registry-{MODEL_REGISTRY}", "github.com/kubeflow/model-registry", 3),),
        beside="v0.3.2",
    ),
)
