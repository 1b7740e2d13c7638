"""Every place on the volume, in one table: no other module spells a folder's or a file's name.

data/<dataset>/<digest>/                  a data set, verified, never changed once there
runs/<run id>/                            all that belongs to one run
    lock                                  held by the process that runs it, on this machine
    log.txt  summary.json  report.html    what its steps printed and what came of it, on this machine
    steps/<stage>.json                    what came of each step
    tune/  train/                         trial logs, study, checkpoints, TensorBoard events
    approval/                             what a person was asked before the model went live, and said
    notices/<subject>.txt                 what its report has to say beside its work
    endings/<parameter>.txt               the seconds that what was last done at a step's end took
    failed/<what>.txt                     what was known of each failure when it was seen, on a cluster
    taken-back.txt                        why the smoke test took this run's model back
models/<model name>/<run id>/1/           a SavedModel, or an ONNX model alone; 1 is the version folder
    ../card.json                          what it was made from, and what was decided about it
models/<model name>/released.json         the runs whose models went live
models/<model name>/.lease  .lock         whose turn it is to change the service
models/<model name>/traffic.json          up to where the service's answers have been counted
services/                                 this machine's servers: a record and a log each
<log_payloads>/                           what users asked and were answered, where that is kept
"""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT = "HYPERFLOW_VOLUME"
"""Environment variable with the volume's folder."""
MOUNT_PATH = "/mnt/hyperflow"
"""Where every pod mounts the claim."""
MODEL_VERSION = "1"
EVALUATION = Path("assets.extra") / "evaluation.json"
"""Where in a SavedModel its test results are."""
ONNX = Path("assets.extra") / "model.onnx"
"""Where in a version folder the model's ONNX form is; the predictor prefers it, and needs no other."""
SAVED_MODEL = Path("saved_model.pb")


def is_model(version: Path) -> bool:
    """Tell whether a version folder holds a model that the predictor serves: a SavedModel, an ONNX model or both."""
    return (version / SAVED_MODEL).is_file() or (version / ONNX).is_file()


def root() -> Path:
    """Return the volume's folder: HYPERFLOW_VOLUME, else where pods mount the claim."""
    return Path(os.environ.get(ENVIRONMENT) or MOUNT_PATH).absolute()


def all_data() -> Path:
    """Return the folder of all data sets."""
    return root() / "data"


def dataset_states(dataset: str) -> Path:
    """Return the folder of all states of a data set."""
    return all_data() / dataset


def data_path(dataset: str, digest: str) -> Path:
    """Return the folder of one state of a data set."""
    return dataset_states(dataset) / digest


def all_runs() -> Path:
    """Return the folder of all runs."""
    return root() / "runs"


def runs_index() -> Path:
    """Return the page with all runs."""
    return all_runs() / "index.html"


def run_path(run_id: str) -> Path:
    """Return the folder of a run."""
    return all_runs() / run_id


def run_lock(run_id: str) -> Path:
    """Return the file that the process which runs a run holds."""
    return run_path(run_id) / "lock"


def run_log(run_id: str) -> Path:
    """Return the file with all that a run's steps have printed."""
    return run_path(run_id) / "log.txt"


def run_summary(run_id: str) -> Path:
    """Return the file with what a run came to."""
    return run_path(run_id) / "summary.json"


def run_report(run_id: str) -> Path:
    """Return the page with what a run came to."""
    return run_path(run_id) / "report.html"


def step_records(run_id: str) -> Path:
    """Return the folder of what came of each step of a run."""
    return run_path(run_id) / "steps"


def tuning(run_id: str, volume: Path | None = None) -> Path:
    """Return the folder of a run's search, on this volume or where another process sees it."""
    return (volume or root()) / run_path(run_id).relative_to(root()) / "tune"


def study(run_id: str) -> Path:
    """Return the file in which a search of our own remembers its trials."""
    return tuning(run_id) / "study.db"


def queue_time(run_id: str) -> Path:
    """Return the file that says how long a run's search has waited in a queue."""
    return tuning(run_id) / "queue.json"


def training(run_id: str, volume: Path | None = None) -> Path:
    """Return the folder of a run's training, on this volume or where another process sees it."""
    return (volume or root()) / run_path(run_id).relative_to(root()) / "train"


def notices(run_id: str) -> Path:
    """Return the folder of what a run's report has to say beside its work."""
    return run_path(run_id) / "notices"


def ending(run_id: str, parameter: str) -> Path:
    """Return the file with the seconds that what a parameter asks for at a step's end took when it was done last."""
    return run_path(run_id) / "endings" / f"{parameter}.txt"


def approval(run_id: str) -> Path:
    """Return the folder of what a person was asked about a run's model."""
    return run_path(run_id) / "approval"


def approval_question(run_id: str) -> Path:
    """Return the file with what a person was asked."""
    return approval(run_id) / "question.json"


def approval_answer(run_id: str) -> Path:
    """Return the file with what that person said, on this machine."""
    return approval(run_id) / "answer.json"


def approval_page(run_id: str) -> Path:
    """Return the page with what there is to decide by."""
    return approval(run_id) / "page.html"


def approval_bell(run_id: str) -> Path:
    """Return the named pipe that wakes who waits for an answer, on this machine."""
    return approval(run_id) / "bell"


def failed(run_id: str) -> Path:
    """Return the folder of what was known of each failure of a run's jobs, which a cluster soon forgets."""
    return run_path(run_id) / "failed"


def taken_back(run_id: str) -> Path:
    """Return the file that says why a run's model was taken back after its smoke test."""
    return run_path(run_id) / "taken-back.txt"


def all_models() -> Path:
    """Return the folder of all models."""
    return root() / "models"


def models(model_name: str) -> Path:
    """Return the folder of one model's runs."""
    return all_models() / model_name


def model_path(model_name: str, run_id: str) -> Path:
    """Return the folder that a run's model is served from; the SavedModel is in its version folder."""
    return models(model_name) / run_id


def gone_live(model_name: str) -> Path:
    """Return the list of the runs whose models went live."""
    return models(model_name) / "released.json"


def lease(model_name: str) -> Path:
    """Return the file that says whose turn it is to change a service."""
    return models(model_name) / ".lease"


def lease_lock(model_name: str) -> Path:
    """Return the file that is locked while the lease is read or written."""
    return models(model_name) / ".lock"


def traffic(model_name: str) -> Path:
    """Return the file that says up to where a service's answers have been counted."""
    return models(model_name) / "traffic.json"


def services() -> Path:
    """Return the folder of this machine's servers."""
    return root() / "services"


def example_request(model_name: str) -> Path:
    """Return the file with a request that a served model answers, to be tried with curl."""
    return services() / f"{model_name}.request"


def payloads(place: str) -> Path | None:
    """Return the folder in which `log_payloads` keeps what is asked, or None where it is a URL or empty."""
    return root() / place if place and "://" not in place else None


def service_log(model_name: str, run_id: str) -> Path:
    """Return the log of the server of a run's model."""
    return services() / f"{model_name}-{run_id}.log"
