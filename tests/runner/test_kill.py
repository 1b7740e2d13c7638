"""Killed at any point, the same command with the same run id goes on from there; stopped, nothing is left."""

from __future__ import annotations

import signal
import socket

import pytest

from hyperflow.engines.local.processes import free_port
from tests.runner.laptop import Laptop, wait_for

pytestmark = pytest.mark.long


class TestKill:
    """Killed at any point, the same command with the same run id goes on from there."""

    @pytest.mark.parametrize("sign", ["tune/trial-001.log", "train/checkpoint", "steps/decide.json"])
    def test_killed_run_goes_on(self, laptop: Laptop, sign: str) -> None:
        folder = laptop.volume / "runs" / "killed"
        port = free_port()
        first = laptop.start(
            "run", "--run-id", "killed", "--live-port", str(port),
            values=["max_trials=3", "parallel_trials=1", "epochs=4"],
        )  # fmt: skip
        wait_for((folder / sign).exists)
        socket.create_connection(("127.0.0.1", port)).close()
        laptop.kill(first)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        laptop.assert_nothing_runs()
        laptop.assert_nothing_is_half_written()
        model = laptop.volume / "models" / "fashion-mnist" / "killed" / "1" / "saved_model.pb"
        trained = model.stat().st_mtime_ns if model.exists() else None
        code, output = laptop.call(
            "run", "--run-id", "killed", values=["max_trials=3", "parallel_trials=1", "epochs=4"]
        )
        assert code == 0, output
        assert laptop.summary("killed")["decision"]["deploy"] is True
        if trained:
            assert model.stat().st_mtime_ns == trained
        laptop.assert_nothing_runs()
        laptop.assert_nothing_is_half_written()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_stopped_run_leaves_nothing(self, laptop: Laptop, number: signal.Signals) -> None:
        first = laptop.start("run", "--run-id", "stopped", values=["epochs=500"])
        wait_for((laptop.volume / "runs" / "stopped" / "train" / "checkpoint").exists)
        first.send_signal(number)
        output, _ = first.communicate(timeout=40)
        assert first.returncode == 130, output
        assert "the run was stopped" in output
        assert "Traceback" not in output
        laptop.assert_nothing_runs()
