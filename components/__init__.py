"""The pipeline steps as KFP components: a typed signature each, and a thin body over `hyperflow.steps`.

Each runs in the `steps` image with nothing installed at run time; on this machine, in the
interpreter that runs it.
"""

from __future__ import annotations

import functools
import os

from kfp import dsl

VERSION = "0.1.0"
IMAGE = os.environ.get("HYPERFLOW_IMAGE") or f"hyperflow-steps:{VERSION}"
MODEL_IMAGE = os.environ.get("HYPERFLOW_MODEL_IMAGE") or f"hyperflow-model:{VERSION}"

component = functools.partial(dsl.component, base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
