"""Train on this machine: as many processes as workers, told of each other by TF_CONFIG, as a TFJob's pods are."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from hyperflow import metrics
from hyperflow.engines.local.processes import Job, free_port
from hyperflow.errors import Conflict, JobFailed, JobTimeout
from hyperflow.progress import Progress, Tell
from hyperflow.specs import TrainResult, TrainSpec, fingerprint
from hyperflow.volume import write_text
from hyperflow.volume.paths import is_model

_RETRYABLE = 128  # the trainer contract: codes from here on name faults that a retry may cure


class Training:
    """One training, from the first epoch or from the last checkpoint.

    Args:
        spec: What to train.
        folder: Where checkpoints and logs are kept; this training's own.
        tell: Told of every epoch.
    """

    def __init__(self, spec: TrainSpec, folder: Path, tell: Tell) -> None:
        self._spec, self._folder, self._tell = spec, folder, tell
        self._jobs: list[Job] = []

    def run(self) -> TrainResult:
        """Run the workers until all have ended well, starting them again after faults that a retry may cure."""
        self._claim_folder()
        ended = self._folder / "ended"
        if ended.exists() and self._has_model():
            return self._result()
        deadline = time.monotonic() + self._spec.timeout
        for attempt in range(self._spec.retries + 1):
            failed = self._attempt(deadline)
            if failed is None:
                result = self._result()
                write_text(ended, "well\n")
                return result
            code, job = failed
            if code < _RETRYABLE or attempt == self._spec.retries:
                break
        raise JobFailed(
            f"the training {self._spec.name} failed: {job.log.stem} ended with exit code {code}",
            f"its log ends with\n{job.tail()}",
            f"mend the cause and run it again with the same run id; all logs are in {self._folder}",
        )

    def _claim_folder(self) -> None:
        """Remember what this run trains, and refuse to train anything else in its name."""
        record, mine = self._folder / "spec", fingerprint(self._spec)
        if record.exists() and record.read_text() != mine:
            raise Conflict(
                f"run {self._spec.run_id} has trained with other parameters", f"{self._folder} holds its checkpoints",
                "give the parameters it had, or another run id",
            )  # fmt: skip
        write_text(record, mine)

    def _attempt(self, deadline: float) -> tuple[int, Job] | None:
        """Run all workers once; return the first to fail and its exit code, or None."""
        spec = self._spec
        roles = ["chief-0", *(f"worker-{index}" for index in range(spec.workers - 1))]
        argv = spec.trainer.argv(spec.data_path, spec.parameters, spec.epochs, spec.model_path)
        environments = _environments(roles, self._folder)
        with ThreadPoolExecutor(len(roles)) as pool:
            try:
                self._jobs = [
                    Job(argv, env, self._folder / f"{role}.log") for role, env in zip(roles, environments, strict=True)
                ]
                ends = [pool.submit(self._follow, job, index == 0) for index, job in enumerate(self._jobs)]
                return self._first_failure(ends, deadline)
            finally:
                for job in self._jobs:
                    job.stop()

    def _first_failure(self, ends: list[Future[int]], deadline: float) -> tuple[int, Job] | None:
        waiting = set(ends)
        while waiting:
            done, waiting = wait(waiting, max(0.0, deadline - time.monotonic()), "FIRST_COMPLETED")
            if not done:
                raise JobTimeout(
                    f"the training {self._spec.name} took more than {self._spec.timeout} s",
                    f"{len(waiting)} of {len(ends)} workers had not ended", "raise train_timeout, or lower epochs",
                )  # fmt: skip
            for end in done:
                if end.result() != 0:
                    return end.result(), self._jobs[ends.index(end)]
        return None

    def _follow(self, job: Job, is_chief: bool) -> int:
        for line in job.lines():
            seen = metrics.parse_line(line)
            if is_chief and "epoch" in seen:
                self._tell(Progress("train", int(seen["epoch"]), self._spec.epochs_in_all, line))
        return job.wait()

    def _has_model(self) -> bool:
        return is_model(Path(self._spec.model_path))

    def _result(self) -> TrainResult:
        spec, log = self._spec, self._folder / "chief-0.log"
        if not self._has_model():
            raise JobFailed(
                f"the training {spec.name} ended without a model",
                f"there is no SavedModel and no ONNX model at {spec.model_path}",
                "have the trainer write one to --model-path",
            )
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        return TrainResult(spec.model_path, metrics.latest(lines), metrics.curve(lines), str(log))


def _environments(roles: list[str], folder: Path) -> list[dict[str, str]]:
    """Build each process's environment; TF_CONFIG only for more than one, as the Training Operator does."""
    common = {
        **os.environ,
        "HYPERFLOW_CHECKPOINT_DIR": str(folder / "checkpoint"),
        "HYPERFLOW_TENSORBOARD_DIR": str(folder / "tensorboard"),
        "HYPERFLOW_THREADS": str(max(1, (os.cpu_count() or 1) // len(roles))),
        "PYTHONUNBUFFERED": "1",
    }
    common.pop("TF_CONFIG", None)
    if len(roles) == 1:
        return [common]
    cluster: dict[str, list[str]] = {}
    for role in roles:
        cluster.setdefault(role.split("-")[0], []).append(f"127.0.0.1:{free_port()}")
    return [{**common, "TF_CONFIG": json.dumps({"cluster": cluster, "task": _task(role)})} for role in roles]


def _task(role: str) -> dict[str, object]:
    kind, index = role.split("-")
    return {"type": kind, "index": int(index)}
