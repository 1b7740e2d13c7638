"""TuneSpec → Katib Experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperflow.engines.kubeflow.manifests import command, searchable, tfjob
from hyperflow.engines.kubeflow.manifests.common import (
    SIDECAR_OPT_OUT,
    SPEC_ANNOTATION,
    Manifest,
    environment,
    in_pod,
    labels,
    plain,
    pod_template,
)
from hyperflow.engines.kubeflow.manifests.work import require_image
from hyperflow.specs import Dimension, TuneSpec, fingerprint, format_value

if TYPE_CHECKING:
    from kubeflow.katib import (
        V1beta1AlgorithmSpec,
        V1beta1EarlyStoppingSpec,
        V1beta1ObjectiveSpec,
        V1beta1ParameterSpec,
        V1beta1TrialTemplate,
    )

JOB_CONTAINER = "trainer"

EXPERIMENT_LABEL = "katib.kubeflow.org/experiment"
"""Katib's own, on trials, on the algorithm's pods and on those that it gives a collector; we set it on the others."""

_FINITE = r"([\w|-]+)\s*=\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[Ee][+-]?\d+)?)"
"""What a metric looks like: Katib's own filter takes `loss=nan` for an empty value, on which a search hangs."""


def experiment(spec: TuneSpec) -> Manifest:
    """Build the Experiment of a search.

    Raises:
        InvalidParameter: The trainer has no image, its command cannot pass through Katib unchanged, or Katib cannot
            search the space as asked.
    """
    from kubeflow import katib
    from kubernetes.client import V1ObjectMeta

    searchable.check(spec)

    return plain(
        katib.V1beta1Experiment(
            api_version="kubeflow.org/v1beta1",
            kind="Experiment",
            metadata=V1ObjectMeta(
                name=spec.name, labels=labels(spec.run_id), annotations={SPEC_ANNOTATION: fingerprint(spec)}
            ),
            spec=katib.V1beta1ExperimentSpec(
                parameters=[_parameter(parameter, spec.algorithm.name) for parameter in spec.search_space],
                objective=_objective(spec),
                algorithm=_algorithm(spec),
                early_stopping=_early_stopping(spec),
                max_trial_count=spec.max_trials,
                parallel_trial_count=spec.parallel_trials,
                max_failed_trial_count=spec.max_failed_trials,
                metrics_collector_spec=katib.V1beta1MetricsCollectorSpec(
                    collector=katib.V1beta1CollectorSpec(kind="StdOut"),
                    source=katib.V1beta1SourceSpec(filter=katib.V1beta1FilterSpec(metrics_format=[_FINITE])),
                ),
                resume_policy="Never",
                trial_template=_trial_template(spec),
            ),
        )
    )


def _parameter(parameter: Dimension, algorithm: str) -> V1beta1ParameterSpec:
    """Describe a dimension; a grid gets a list in place of steps, where Katib's arithmetic can lose the last."""
    from kubeflow import katib

    if algorithm == "grid" and parameter.type == "double":
        points = [format_value(value) for value in parameter.grid or ()]
        space = katib.V1beta1FeasibleSpace(list=points)
        return katib.V1beta1ParameterSpec(name=parameter.name, parameter_type="discrete", feasible_space=space)
    if parameter.type in ("double", "int"):
        space = katib.V1beta1FeasibleSpace(
            min=format_value(parameter.min),
            max=format_value(parameter.max),
            step=format_value(parameter.step) if parameter.step else None,
            distribution=parameter.distribution,
        )
    else:
        space = katib.V1beta1FeasibleSpace(list=[format_value(value) for value in parameter.values])
    return katib.V1beta1ParameterSpec(name=parameter.name, parameter_type=parameter.type, feasible_space=space)


def _objective(spec: TuneSpec) -> V1beta1ObjectiveSpec:
    from kubeflow import katib

    return katib.V1beta1ObjectiveSpec(
        type=spec.objective.direction,
        goal=spec.objective.goal,
        objective_metric_name=spec.objective.metric,
        additional_metric_names=list(spec.objective.additional) or None,
    )


def _algorithm(spec: TuneSpec) -> V1beta1AlgorithmSpec:
    from kubeflow import katib

    settings = [katib.V1beta1AlgorithmSetting(name=k, value=v) for k, v in spec.algorithm.settings.items()]
    return katib.V1beta1AlgorithmSpec(algorithm_name=spec.algorithm.name, algorithm_settings=settings or None)


def _early_stopping(spec: TuneSpec) -> V1beta1EarlyStoppingSpec | None:
    from kubeflow import katib

    if spec.early_stopping is None:
        return None
    settings = {
        "min_trials_required": spec.early_stopping.min_trials_required,
        "start_step": spec.early_stopping.start_step,
    }
    return katib.V1beta1EarlyStoppingSpec(
        algorithm_name="medianstop",
        algorithm_settings=[katib.V1beta1EarlyStoppingSetting(name=k, value=str(v)) for k, v in settings.items()],
    )


def _trial_template(spec: TuneSpec) -> V1beta1TrialTemplate:
    """Describe a trial; it is retained, or the logs of those that fail would go with them."""
    from kubeflow import katib

    return katib.V1beta1TrialTemplate(
        primary_container_name=JOB_CONTAINER if spec.workers == 1 else tfjob.CONTAINER,
        trial_parameters=[
            katib.V1beta1TrialParameterSpec(name=parameter.name, reference=parameter.name)
            for parameter in spec.search_space
        ],
        trial_spec=_job(spec) if spec.workers == 1 else tfjob.trial(spec, *_commands(spec), _labels(spec)),
        retain=True,
    )


def _commands(spec: TuneSpec) -> tuple[list[str], list[str]]:
    """Return the words of the primary container, and those of the others."""
    given = spec.trainer, in_pod(spec.data_path, "data_path"), spec.search_space, spec.epochs
    return command.trial(*given), command.trial_replica(*given)


def _labels(spec: TuneSpec) -> dict[str, str]:
    return {EXPERIMENT_LABEL: spec.name}


def _job(spec: TuneSpec) -> Manifest:
    from kubernetes import client

    require_image(spec.trainer, spec.compute)
    words, _ = _commands(spec)
    template = pod_template(JOB_CONTAINER, spec.trainer.image, words, environment(), spec.compute, spec.claim)
    template.metadata.labels |= _labels(spec)
    job = client.V1Job(
        api_version="batch/v1",
        kind="Job",
        metadata=client.V1ObjectMeta(labels={**tfjob.queue_label(spec.compute), **SIDECAR_OPT_OUT}),
        spec=client.V1JobSpec(backoff_limit=0, active_deadline_seconds=spec.timeout, template=template),
    )
    return plain(job)
