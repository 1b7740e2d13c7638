"""Compare the predictor, by each of its runtimes, with two models on KServe's own server: a core for either side.

    python -m benchmarks.serving.bench [--model_dir DIR] [--seconds 10] [--rounds 3] [--servers onnx traced]

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
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.serving import peers
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


@dataclass(frozen=True)
class Server:
    """A server and all processes below it; `ready` is the seconds it took to answer that it is."""

    kind: str
    port: int
    process: psutil.Popen
    ready: float = 0.0

    @property
    def paths(self) -> tuple[str, str]:
        """Where to ask whether it is ready, and for a prediction."""
        return peers.PATHS.get(self.kind, (f"/v1/models/{NAME}", f"/v1/models/{NAME}:predict"))

    def tree(self) -> list[psutil.Process]:
        """Return its processes that are there."""
        try:
            return [self.process, *self.process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def signal(self, number: int) -> None:
        """Send a signal to all of them."""
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def resident(self) -> float:
        """Return the memory of all of them, in MiB; what they share counts for each."""
        return sum(process.memory_info().rss for process in self.tree()) / 2**20

    def cpu(self) -> float:
        """Return the seconds of a core that all of them have used."""
        times = [process.cpu_times() for process in self.tree()]
        return float(sum(each.user + each.system for each in times))

    def end(self) -> None:
        """End all of them, the first one in its own way."""
        processes = self.tree()
        self.signal(signal.SIGCONT)
        with contextlib.suppress(psutil.NoSuchProcess):
            self.process.terminate()
        for process in psutil.wait_procs(processes, timeout=40)[1]:
            process.kill()


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
        commands = {kind: SERVERS[kind] for kind in arguments.servers}
        with _all_running(folder, Path(scratch), commands) as servers:
            results = _measure(servers, arguments.seconds, arguments.rounds)
    return _report(results)


def rows(seconds: int, rounds: int, peer_folder: Path) -> list[dict[str, object]]:
    """Measure these servers and the peers' that can be installed; a row is one round of one server."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = _untrained(Path(scratch))
        commands = {**SERVERS, **peers.commands(peer_folder, folder / "1" / ONNX)}
        with _all_running(folder, Path(scratch), commands) as servers:
            results = _measure(servers, seconds, rounds)
    return [{"name": kind, **run} for kind, runs in results.items() for run in runs]


@contextlib.contextmanager
def _all_running(folder: Path, scratch: Path, commands: dict[str, list[str]]) -> Iterator[dict[str, Server]]:
    """Start the servers on the first core; they are stopped by turns while another one is measured.

    Where one is traced and no span has arrived at the end, the process ends with an error.
    """
    core = min(os.sched_getaffinity(0))
    servers: dict[str, Server] = {}
    with collector() as spans:
        try:
            _start(servers, folder, scratch, commands, core, spans.url)
            yield servers
        finally:
            for server in servers.values():
                server.end()
        if "traced" in servers and not spans.spans:
            sys.exit("no span has arrived: tracing was not on")


def _start(
    servers: dict[str, Server], folder: Path, scratch: Path, commands: dict[str, list[str]], core: int, otlp: str
) -> None:  # fmt: skip
    """Add the servers to those that are there, so that whoever ends them knows each one that has begun."""
    for port, (kind, command) in enumerate(commands.items(), start=18600):
        served = _without_copy(folder, scratch) if kind == "tensorflow" else folder
        words = [*command, "--model_name", NAME, "--model_dir", str(served), "--http_port", str(port)]
        environment = {**os.environ, **({"OTEL_EXPORTER_OTLP_ENDPOINT": otlp} if kind == "traced" else {})}
        began = time.monotonic()
        with (scratch / f"{kind}.log").open("wb") as log:
            process = psutil.Popen(["taskset", "-c", str(core), *words], stdout=log, stderr=log, env=environment)
        servers[kind] = Server(kind, port, process)
        _wait_ready(servers[kind], scratch / f"{kind}.log")
        servers[kind] = Server(kind, port, process, time.monotonic() - began)
        servers[kind].signal(signal.SIGSTOP)  # so that the next one starts alone


def _wait_ready(server: Server, log: Path) -> None:
    deadline, port, process = time.monotonic() + 120, server.port, server.process
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{server.paths[0]}"):
            return
        time.sleep(0.1)
    sys.exit(f"the server on port {port} did not start:\n{log.read_text()[-2000:]}")


def _measure(servers: dict[str, Server], seconds: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    results: dict[str, list[dict[str, float]]] = {kind: [] for kind in servers}
    for number in range(rounds):
        for kind in list(servers)[:: -1 if number % 2 else 1]:  # what grows meanwhile meets either of a pair
            server = servers[kind]
            server.signal(signal.SIGCONT)
            _load(server, 2)
            before = server.cpu()
            measured = _load(server, seconds)
            cpu = (server.cpu() - before) / measured.pop("requests") * 1e6
            results[kind].append({**measured, "cpu": cpu, "rss": server.resident(), "ready": server.ready})
            server.signal(signal.SIGSTOP)
            print(f"{kind}: {results[kind][-1]['rate']:.0f} requests/s", file=sys.stderr, flush=True)
    return results


def _load(server: Server, seconds: int) -> dict[str, float]:
    core = max(os.sched_getaffinity(0))
    url = f"http://127.0.0.1:{server.port}{server.paths[1]}"
    command = ["taskset", "-c", str(core), "wrk", "-t1", "-c16", f"-d{seconds}s", "-s", str(HERE / "predict.lua"), url]
    environment = {**os.environ, "BODY": server.kind}
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=seconds + 30, env=environment
    ).stdout
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
