"""Say what a namespace lacks before a run finds out, and how to mend it.

Each check is a value; the command line prints all of them as one table, and a step refuses on those that fail.
"""

from hyperflow.engines.kubeflow.preflight.check import Check, Status, require
from hyperflow.engines.kubeflow.preflight.namespace import COLLECTOR_LABEL
from hyperflow.engines.kubeflow.preflight.rights import VERBS
from hyperflow.engines.kubeflow.preflight.survey import for_serving, for_training, for_tuning, survey

__all__ = [
    "COLLECTOR_LABEL",
    "VERBS",
    "Check",
    "Status",
    "for_serving",
    "for_training",
    "for_tuning",
    "require",
    "survey",
]
