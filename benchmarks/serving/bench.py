"""Compare the predictor, by each of its runtimes, with two models on KServe's own server: a core for either side.

    python benchmarks/serving/bench.py [--model_dir DIR] [--seconds 10] [--rounds 3] [--servers onnx traced]

The servers run one at a time, by turns, so that what else the machine does meets all of them alike; the figures are
medians over the rounds. CPU is the server's own time a request, which other work on the machine changes least.
`traced` is `onnx` with OTLP to a collector and the default sampling: pairs, of which every other begins with it.
The model needs an ONNX copy; `tensorflow` is served from the same folder without it.
Without --model_dir an untrained network of the default trainer's size is served.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

from hyperflow.volume.paths import ONNX

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))
from tests.collector import collector  # noqa: E402 — the tests' stand-in for a collector

NAME = "fashion"
OURS = [sys.executable, "-m", "hyperflow.serving", "--enable_grpc", "false"]
KSERVE = [sys.executable, str(HERE / "kserve_models.py")]
SERVERS = {
    "constant": [*KSERVE, "constant"],
    "naive": [*KSERVE, "naive"],
    "tensorflow": OURS,
    "onnx": OURS,
    "traced": OURS,
}
WANTED = {"constant": 1.4, "naive": 3.0, "tensorflow": 1.2}
TRACED = 0.97
"""Least share of the requests/s that are left with tracing."""


def main() -> int:
    """Print the table; return 1 where a ratio is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model_dir", type=Path, help="folder above a version folder 1")
    parser.add_argument("--seconds", type=int, default=10, help="of load, a server and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS), help="by default all")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.model_dir or _untrained(Path(scratch))
        with collector() as spans, _all_running(folder, Path(scratch), arguments.servers, spans.url) as servers:
            results = _measure(servers, arguments.seconds, arguments.rounds)
    if "traced" in results and not spans.spans:
        sys.exit("no span has arrived: tracing was not on")
    return _report(results)


@contextlib.contextmanager
def _all_running(
    folder: Path, scratch: Path, kinds: list[str], otlp: str
) -> Iterator[dict[str, tuple[int, psutil.Popen]]]:
    """Start the servers on the first core; they are stopped by turns while another one is measured."""
    core = min(os.sched_getaffinity(0))
    servers: dict[str, tuple[int, psutil.Popen]] = {}
    try:
        for port, kind in enumerate(kinds, start=18600):
            served = _without_copy(folder, scratch) if kind == "tensorflow" else folder
            words = [*SERVERS[kind], "--model_name", NAME, "--model_dir", str(served), "--http_port", str(port)]
            environment = {**os.environ, **({"OTEL_EXPORTER_OTLP_ENDPOINT": otlp} if kind == "traced" else {})}
            with (scratch / f"{kind}.log").open("wb") as log:
                process = psutil.Popen(["taskset", "-c", str(core), *words], stdout=log, stderr=log, env=environment)
            servers[kind] = port, process
            _wait_ready(port, process, scratch / f"{kind}.log")
        yield servers
    finally:
        for _, process in servers.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for _, process in servers.values():
            process.wait(40)


def _wait_ready(port: int, process: psutil.Popen, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/{NAME}"):
            return
        time.sleep(0.2)
    sys.exit(f"the server on port {port} did not start:\n{log.read_text()[-2000:]}")


def _measure(
    servers: dict[str, tuple[int, psutil.Popen]], seconds: int, rounds: int
) -> dict[str, list[dict[str, float]]]:
    results: dict[str, list[dict[str, float]]] = {kind: [] for kind in servers}
    for _, process in servers.values():
        process.suspend()
    for number in range(rounds):
        for kind in list(servers)[:: -1 if number % 2 else 1]:  # what grows meanwhile meets either of a pair
            port, process = servers[kind]
            process.resume()
            _load(port, 2)
            before = _cpu(process)
            measured = _load(port, seconds)
            cpu = (_cpu(process) - before) / measured.pop("requests") * 1e6
            results[kind].append({**measured, "cpu": cpu, "rss": process.memory_info().rss / 2**20})
            process.suspend()
            print(f"{kind}: {results[kind][-1]['rate']:.0f} requests/s", file=sys.stderr, flush=True)
    return results


def _cpu(process: psutil.Popen) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _load(port: int, seconds: int) -> dict[str, float]:
    core = max(os.sched_getaffinity(0))
    url = f"http://127.0.0.1:{port}/v1/models/{NAME}:predict"
    command = ["taskset", "-c", str(core), "wrk", "-t1", "-c16", f"-d{seconds}s", "-s", str(HERE / "predict.lua"), url]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
    summary = json.loads(output.splitlines()[-1])
    if summary["failed"]:
        sys.exit(f"{summary['failed']} requests failed:\n{output}")
    rate = summary["requests"] / summary["microseconds"] * 1e6
    return {"requests": summary["requests"], "rate": rate, "p50": summary["p50"] / 1000, "p99": summary["p99"] / 1000}


def _report(results: dict[str, list[dict[str, float]]]) -> int:
    medians = {
        kind: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for kind, runs in results.items()
    }
    print(f"{'server':10} {'requests/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>8} {'RSS MiB':>8}")
    for kind, values in medians.items():
        figures = f"{values['p50']:8.1f} {values['p99']:8.1f} {values['cpu']:8.0f} {values['rss']:8.0f}"
        print(f"{kind:10} {values['rate']:10.0f} {figures}")
    missed = 0
    for kind, wanted in WANTED.items() if "onnx" in medians else ():
        if kind in medians:
            ratio = medians["onnx"]["rate"] / medians[kind]["rate"]
            missed += ratio < wanted
            print(f"onnx / {kind}: {ratio:.2f} (wanted: at least {wanted})")
    if {"onnx", "traced"} <= results.keys():
        pairs = list(zip(results["traced"], results["onnx"], strict=True))
        rate, cpu = (statistics.median(on[key] / off[key] for on, off in pairs) for key in ("rate", "cpu"))
        missed += rate < TRACED
        print(f"traced / onnx: {rate:.3f} of the requests/s (wanted: at least {TRACED}), {cpu:.3f} of the CPU's time")
        print("  pairs: " + ", ".join(f"{on['rate'] / off['rate']:.3f}" for on, off in pairs))
    return int(missed > 0)


def _untrained(scratch: Path) -> Path:
    """Save the tests' network, in a process of its own: TensorFlow need not stay in this one."""
    code = (
        "import sys; from pathlib import Path; from tests.serving import models as m; "
        "m.save(m.Network(), Path(sys.argv[1]), onnx_copy=True)"
    )
    folder = scratch / "model"
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, cwd=HERE.parent.parent, timeout=120)
    return folder


def _without_copy(folder: Path, scratch: Path) -> Path:
    target = scratch / "without"
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns(ONNX.name))
    return target


if __name__ == "__main__":
    sys.exit(main())
