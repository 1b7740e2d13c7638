"""What goes wrong on a laptop: each fault ends the run non-zero with one clear message, and nothing is left."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hyperflow.datasets import load
from tests.runner.laptop import SMALL, Laptop, wait_for

TRAINER = Path(__file__).parents[1] / "trainers" / "line.py"
LINE = (
    f'trainer_command=["{sys.executable}", "{TRAINER}"]', 'search_space={"x": {"type": "double", "min": 0, "max": 1}}',
)  # fmt: skip


def copy(folder: Path) -> Path:
    folder.mkdir()
    for path in SMALL.glob("*.gz"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@contextmanager
def file_system(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system with options, or, for one that is not root, take the right to write away."""
    folder.mkdir()
    if os.getuid() != 0:
        folder.chmod(0o500)
        yield
        return
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def assert_refused(laptop: Laptop, code: int, output: str, *words: str) -> None:
    assert code not in (0, None), output
    message = output[output.index("error: ") :]
    for word in (*words, "remedy: "):
        assert word in message, output
    assert "Traceback" not in output
    assert output.count("error: ") == 1
    laptop.assert_nothing_runs()
    laptop.assert_nothing_is_half_written()


class TestData:
    def test_damaged_file(self, laptop: Laptop, tmp_path: Path) -> None:
        source = copy(tmp_path / "source")
        path = source / "train-images-idx3-ubyte.gz"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
        code, output = laptop.call("run", values=[f"data_source={source}"])
        assert_refused(laptop, code, output, "train-images")

    def test_missing_file(self, laptop: Laptop, tmp_path: Path) -> None:
        source = copy(tmp_path / "source")
        (source / "t10k-labels-idx1-ubyte.gz").unlink()
        code, output = laptop.call("run", values=[f"data_source={source}"])
        assert_refused(laptop, code, output, "t10k-labels")

    def test_wrong_count(self, laptop: Laptop, tmp_path: Path) -> None:
        source = copy(tmp_path / "source")
        path = source / "t10k-labels-idx1-ubyte.gz"
        labels = bytearray(gzip.decompress(path.read_bytes()))[:-1]
        labels[4:8] = (int.from_bytes(labels[4:8], "big") - 1).to_bytes(4, "big")
        path.write_bytes(gzip.compress(labels))
        code, output = laptop.call("run", values=[f"data_source={source}"])
        assert_refused(laptop, code, output, "label")


class TestMachine:
    def test_unwritable_folder(self, laptop: Laptop) -> None:
        with file_system(laptop.volume, "ro"):
            code, output = laptop.call("run")
            assert_refused(laptop, code, output, "cannot be written")

    def test_file_where_the_folder_should_be(self, laptop: Laptop) -> None:
        laptop.volume.write_text("")
        code, output = laptop.call("run")
        assert_refused(laptop, code, output, "cannot be written")

    def test_port_taken(self, laptop: Laptop) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            code, output = laptop.call("run", "--port", str(port))
        assert_refused(laptop, code, output, f"port {port} cannot be used")
        assert "load_data …" not in output

    def test_run_id_in_use(self, laptop: Laptop) -> None:
        first = laptop.start("run", "--run-id", "same")
        wait_for((laptop.volume / "runs" / "same" / "log.txt").exists)
        code, output = laptop.call("run", "--run-id", "same")
        assert code == 1
        assert "is being run by another process" in output
        laptop.kill(first)

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
    def test_full_disk(self, laptop: Laptop) -> None:
        with file_system(laptop.volume, "size=600k"):
            code, output = laptop.call("run")
            assert_refused(laptop, code, output, "full")


class TestSteps:
    def test_killed_step_is_named_with_its_log_and_the_way_on(self, laptop: Laptop) -> None:
        started = laptop.start("run", "--run-id", "hit", values=["epochs=500"])
        wait_for((laptop.volume / "runs" / "hit" / "train" / "checkpoint").exists)
        for process in laptop.processes():
            if "kfp.dsl.executor_main" in process.cmdline():
                process.kill()
        output, _ = started.communicate(timeout=60)
        assert_refused(laptop, started.returncode, output, "the step train ended without saying why", "log.txt")
        assert f"to go on: hyperflow run --run-id hit --folder {laptop.volume}" in output
        assert "\x1b" not in output

    def test_host_that_is_unknown_is_not_a_file_that_is_missing(self, laptop: Laptop) -> None:
        code, output = laptop.call("run", values=["data_source=http://no-such-host.invalid/x"])
        assert_refused(laptop, code, output, "http://no-such-host.invalid/x cannot be reached")
        assert "has no train-images" not in output

    def test_unknown_pipeline_is_answered_with_those_that_there_are(self, laptop: Laptop) -> None:
        code, output = laptop.call("run", "--pipeline", "nope")
        assert code != 0
        assert "give retrain or train_and_serve, or the path of another" in output


class TestParameters:
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ("epoch=3", ["'epoch'", "epochs"]),
            ("epochs=-1", ["'epochs'", "from 0 up to 10000"]),
            ('search_space={"x": {"type": "double", "min": 2, "max": 1}}', ["search_space[x].min", "max"]),
            ("algorithm=grid", ["search_space[dropout_rate].step"]),
        ],
    )
    def test_bad_value(self, laptop: Laptop, value: str, words: list[str]) -> None:
        code, output = laptop.call("run", values=[value])
        assert_refused(laptop, code, output, *words)
        assert not (laptop.volume / "data").exists()

    def test_trainer_not_found(self, laptop: Laptop) -> None:
        code, output = laptop.call("run", values=['trainer_command=["no-such-program"]'])
        assert_refused(laptop, code, output, "no-such-program")


class TestTrainers:
    def test_all_trials_failing(self, laptop: Laptop) -> None:
        code, output = laptop.call("run", values=[*LINE, 'trainer_arguments={"fail": 3}'])
        assert_refused(laptop, code, output, "2 of at most 2 trials of tune-", "broken as asked: 3", "exit code 3")
        assert "max_failed_trials is" not in output, "it was 3: that many trials there are not"

    def test_nan_losses(self, laptop: Laptop) -> None:
        code, output = laptop.call("run", values=[*LINE, 'trainer_arguments={"nan": 1}'])
        assert_refused(laptop, code, output, "no finite validation-accuracy")

    def test_worker_crash(self, laptop: Laptop) -> None:
        values = [*LINE, "trainer_arguments={}", 'trial_arguments={"crash_at": 0}', "train_retries=0", "epochs=2"]
        values[2] = 'trainer_arguments={"crash_at": 2}'
        code, output = laptop.call("run", values=values)
        assert_refused(laptop, code, output, "exit code 137")

    def test_python3_in_a_path_stays_what_it_is(self, laptop: Laptop) -> None:
        code, output = laptop.call("run", values=['trainer_command=["/no/such/python3.99"]'])
        assert_refused(laptop, code, output, "'/no/such/python3.99'")

    def test_debug_shows_the_traceback(self, laptop: Laptop) -> None:
        code, output = laptop.call("run", "--debug", values=["epochs=-1"])
        assert code != 0
        assert "Traceback" in output


def test_data_on_the_volume_is_whole(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERFLOW_VOLUME", str(laptop.volume))
    assert Path(load(str(SMALL), "small").path).parent == laptop.volume / "data" / "small"
