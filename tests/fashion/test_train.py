"""The trainer as engines run it: a process, its exit code, its lines and its model, on real images."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hyperflow import datasets
from hyperflow.datasets import Dataset
from hyperflow.fashion.arguments import Arguments
from tests.fashion.trainer import Ended, free_ports, run, run_cold, start, start_cluster

SMALL = Path(__file__).parents[1] / "data" / "fashion-mnist-small"
EPOCHS = 3
METRICS = ("loss", "accuracy", "validation-loss", "validation-accuracy")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERFLOW_VOLUME", str(tmp_path_factory.mktemp("volume")))
        return datasets.load(str(SMALL), "fashion-mnist-small")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("alone")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return folder / "models" / "1"


@pytest.fixture(scope="module")
def alone(dataset: Dataset, folder: Path, model: Path) -> Ended:
    """One whole training by one process, which several tests look at."""
    environment = {"HYPERFLOW_TENSORBOARD_DIR": str(folder / "events")}
    return run_cold(environment, data_path=dataset.path, epochs=EPOCHS, model_path=str(model))


@pytest.fixture(scope="module")
def evaluation(alone: Ended, model: Path) -> dict:
    assert alone.code == 0, alone.errors
    return json.loads((model / "assets.extra" / "evaluation.json").read_text())


def test_each_epoch_is_one_line_of_metrics(alone: Ended) -> None:
    assert alone.code == 0, alone.errors
    lines = alone.output.splitlines()
    assert len(lines) == EPOCHS + 1
    for number, line in enumerate(lines[:-1], start=1):
        assert [part.split("=")[0] for part in line.split()] == ["epoch", *METRICS]
        assert line.startswith(f"epoch={number} ")
    assert [part.split("=")[0] for part in lines[-1].split()] == ["test-loss", "test-accuracy"]


def test_it_learns(alone: Ended) -> None:
    assert alone.history["loss"][-1] < alone.history["loss"][0]
    assert alone.history["test-accuracy"][0] > 0.6


def test_the_evaluation_agrees_with_itself_and_the_lines(alone: Ended, evaluation: dict, dataset: Dataset) -> None:
    counts = np.array(evaluation["confusion_matrix"])
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(dataset.labels("test")))
    assert evaluation["test_accuracy"] == pytest.approx(np.trace(counts) / 500)
    assert evaluation["test_accuracy"] == pytest.approx(alone.history["test-accuracy"][0])
    assert evaluation["curve"]["validation-accuracy"] == pytest.approx(alone.history["validation-accuracy"])
    assert evaluation["weights_digest"] == alone.digest
    assert evaluation["data"]["digest"] == dataset.digest
    assert evaluation["train_class_counts"] == [150] * 10
    assert evaluation["arguments"]["epochs"] == EPOCHS


def test_the_saved_model_answers_as_it_was_tested(evaluation: dict, model: Path, dataset: Dataset) -> None:
    import tensorflow as tf

    serve = tf.saved_model.load(str(model)).signatures["serving_default"]
    assert serve.structured_input_signature[1]["flatten_input"].shape.as_list() == [None, 784]
    pixels = dataset.images("test").reshape(-1, 784).astype(np.float32)
    probabilities = serve(flatten_input=tf.constant(pixels))["probabilities"].numpy()
    assert probabilities.shape == (500, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities.argmax(axis=1) == dataset.labels("test")).mean() == evaluation["test_accuracy"]
    for image in evaluation["misread"]:
        assert probabilities[image["index"]].argmax() == image["predicted"] != image["label"]
        assert dataset.labels("test")[image["index"]] == image["label"]


def test_old_servers_can_read_the_saved_model(evaluation: dict, model: Path) -> None:
    """KServe ships TensorFlow Serving 2.6: no operation or attribute that is younger may be in the graph."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    graph = SavedModel.FromString((model / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    served = {node.op for node in nodes}
    assert {"Conv2D", "MaxPool", "MatMul", "Softmax"} <= served
    young = {"grad_a", "grad_b", "debug_name", "allow_uninitialized"}
    assert not {(node.op, name) for node in nodes for name in young & set(node.attr)}


def test_events_are_there_for_tensorboard(alone: Ended, folder: Path) -> None:
    import tensorflow as tf

    (path,) = (folder / "events").iterdir()
    events = [tf.compat.v1.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    values = {(event.step, value.tag): value.simple_value for event in events for value in event.summary.value}
    assert set(values) == {(epoch, name) for epoch in range(1, EPOCHS + 1) for name in METRICS}
    assert values[EPOCHS, "loss"] == pytest.approx(alone.history["loss"][-1])


def test_the_same_again_trains_nothing_and_other_arguments_are_refused(
    alone: Ended, folder: Path, model: Path, dataset: Dataset
) -> None:
    before = (model / "saved_model.pb").stat().st_mtime_ns
    same = run(folder / "same", data_path=dataset.path, epochs=EPOCHS, model_path=str(model))
    assert (same.code, same.output) == (0, "")
    other = run(folder / "other", data_path=dataset.path, epochs=EPOCHS, seed=1, model_path=str(model))
    assert (other.code, other.output) == (2, "")
    assert "model-path" in other.errors
    assert (model / "saved_model.pb").stat().st_mtime_ns == before


def test_killed_and_run_again_it_ends_as_if_it_had_not_been(alone: Ended, dataset: Dataset, tmp_path: Path) -> None:
    """This shows at once that one worker's result depends on nothing but its arguments."""
    environment = {"HYPERFLOW_CHECKPOINT_DIR": str(tmp_path / "checkpoint")}
    flags = {"data_path": dataset.path, "epochs": EPOCHS, "model_path": str(tmp_path / "models" / "1")}
    first = start(tmp_path / "first", environment, **flags)
    first.wait_for((tmp_path / "checkpoint" / "checkpoint.npz").exists)
    assert first.end(signal.SIGKILL).code == -signal.SIGKILL
    assert not (tmp_path / "models" / "1").exists()
    second = run(tmp_path / "second", environment, **flags)
    assert second.code == 0, second.errors
    assert "going on after epoch" in second.errors
    assert second.digest == alone.digest
    assert second.output.splitlines() == alone.output.splitlines()[-len(second.output.splitlines()) :]
    written = json.loads((tmp_path / "models" / "1" / "assets.extra" / "evaluation.json").read_text())
    assert written["curve"]["loss"] == pytest.approx(alone.history["loss"])


def test_more_epochs_go_on_from_a_shorter_training_which_stays_as_it_is(dataset: Dataset, tmp_path: Path) -> None:
    flags = {"data_path": dataset.path, "model": "mlp", "train_fraction": 0.5}
    short, long = tmp_path / "short", tmp_path / "long"
    assert run(tmp_path / "1", {"HYPERFLOW_CHECKPOINT_DIR": str(short)}, epochs=2, **flags).code == 0
    before = (short / "checkpoint.npz").read_bytes()
    environment = {"HYPERFLOW_CHECKPOINT_DIR": str(long), "HYPERFLOW_CHECKPOINT_FROM": str(short)}
    other = run(tmp_path / "2", environment, epochs=4, seed=1, **flags)
    assert (other.code, len(other.output.splitlines())) == (0, 4)
    shutil.rmtree(long)
    more = run(tmp_path / "3", environment, epochs=4, **flags)
    assert (more.code, more.history["epoch"]) == (0, [3, 4])
    assert (short / "checkpoint.npz").read_bytes() == before
    done = run(tmp_path / "4", environment, epochs=4, **flags)  # its own comes first, and only the end is left
    assert done.output == more.output.splitlines()[-1] + "\n"


@pytest.mark.parametrize("damage", ["another training", "cut off"])
def test_a_checkpoint_that_is_of_no_use_is_passed_over(damage: str, dataset: Dataset, tmp_path: Path) -> None:
    environment = {"HYPERFLOW_CHECKPOINT_DIR": str(tmp_path)}
    flags = {"data_path": dataset.path, "epochs": 1, "model": "mlp"}
    assert run(tmp_path, environment, seed=1 if damage == "another training" else 0, **flags).code == 0
    path = tmp_path / "checkpoint.npz"
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:1000])
    again = run(tmp_path, environment, **flags)
    assert again.code == 0
    assert "starting anew" in again.errors
    assert len(again.output.splitlines()) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_ends_at_once_when_told_to(number: signal.Signals, code: int, dataset: Dataset, tmp_path: Path) -> None:
    running = start(tmp_path, data_path=dataset.path, epochs=1000, model_path=str(tmp_path / "models" / "1"))
    running.wait_for_epoch(1)
    ended = running.end(number)
    assert ended.code == code
    assert number.name in ended.errors
    assert not (tmp_path / "models").exists()


def test_two_workers_end_with_one_model_as_good_as_one_workers(
    alone: Ended, evaluation: dict, dataset: Dataset, tmp_path: Path
) -> None:
    model = tmp_path / "models" / "1"
    flags = {"data_path": dataset.path, "epochs": EPOCHS, "model_path": str(model)}
    members = start_cluster(tmp_path, ["chief", "worker", "ps", "evaluator"], **flags)
    chief, worker, server, evaluator = (member.end() for member in members)
    assert [member.code for member in (chief, worker, server, evaluator)] == [0] * 4, chief.errors + worker.errors
    assert chief.digest == worker.digest
    assert chief.output == worker.output
    assert chief.history["test-accuracy"][0] == pytest.approx(alone.history["test-accuracy"][0], abs=0.03)
    assert chief.history["loss"][0] == pytest.approx(alone.history["loss"][0], rel=0.01)
    assert "nothing to do" in server.errors
    assert "nothing to do" in evaluator.errors
    written = json.loads((model / "assets.extra" / "evaluation.json").read_text())
    assert (written["workers"], written["weights_digest"]) == (2, chief.digest)
    assert [path.name for path in model.parent.iterdir()] == ["1"]


def test_workers_normalise_by_the_statistics_of_the_whole_batch(dataset: Dataset, tmp_path: Path) -> None:
    flags = {
        "data_path": dataset.path,
        "epochs": 2,
        "model": "cnn-large",
        "precision": "float32",
        "learning_rate": 1e-4,
    }
    alone = run(tmp_path / "alone", model_path=str(tmp_path / "alone" / "1"), **flags)
    members = start_cluster(tmp_path, ["worker", "worker"], model_path=str(tmp_path / "models" / "1"), **flags)
    first, second = (member.end() for member in members)
    assert [alone.code, first.code, second.code] == [0, 0, 0], first.errors + second.errors
    assert first.digest == second.digest
    for name in ("loss", "validation-loss"):
        assert first.history[name] == pytest.approx(alone.history[name], rel=1e-3)


def test_a_model_has_its_own_defaults_and_a_given_value_wins(dataset: Dataset) -> None:
    large = Arguments.parse([f"--data-path={dataset.path}", "--model=cnn-large", "--epochs=3"])
    assert (large.epochs, large.batch_size) == (3, 256)
    assert Arguments.parse([f"--data-path={dataset.path}"]).batch_size == 128


def test_a_worker_that_dies_does_not_leave_the_other_waiting(dataset: Dataset, tmp_path: Path) -> None:
    first, second = start_cluster(tmp_path, ["worker", "worker"], data_path=dataset.path, epochs=10000)
    first.wait_for_epoch(1)
    second.end(signal.SIGKILL)
    ended = first.end()
    assert ended.code == 138, ended.errors
    assert "another worker is gone" in ended.errors


def test_workers_that_never_come_are_not_waited_for(dataset: Dataset) -> None:
    program = (
        "import sys; from hyperflow.fashion import cluster; cluster.JOIN_SECONDS = 3; "
        "from hyperflow.fashion.train import main; sys.exit(main(sys.argv[1:]))"
    )
    config = {
        "cluster": {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]},
        "task": {"type": "worker", "index": 0},
    }
    ended = subprocess.run(
        [sys.executable, "-c", program, f"--data-path={dataset.path}", "--epochs=1"],
        env={**os.environ, "TF_CONFIG": json.dumps(config)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == -signal.SIGALRM, ended.stderr


def test_a_trial_that_diverges_reports_the_penalty_and_ends_well(dataset: Dataset, tmp_path: Path) -> None:
    ended = run(tmp_path, data_path=dataset.path, epochs=5, learning_rate=100, weight_decay=10, model="cnn")
    assert ended.code == 0, ended.errors
    assert ended.history["loss"][-1] == ended.history["validation-loss"][-1] == 1e9
    assert ended.history["validation-accuracy"][-1] == 0
    assert "nan" not in ended.output


def test_a_training_that_diverges_saves_nothing(dataset: Dataset, tmp_path: Path) -> None:
    model = tmp_path / "models" / "1"
    flags = {"learning_rate": 100, "weight_decay": 10, "model_path": str(model)}
    ended = run(tmp_path, data_path=dataset.path, epochs=5, **flags)
    assert ended.code == 4
    assert "diverged" in ended.errors
    assert "learning_rate" in ended.errors
    assert not model.parent.exists()


@pytest.fixture
def damaged(dataset: Dataset, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(dataset.path, tmp_path / "data"))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    return folder


def test_faults_have_their_exit_codes_and_no_traceback(
    damaged: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hyperflow.fashion.train import main

    monkeypatch.delenv("TF_CONFIG", raising=False)
    for argv, code, text in (
        (["--epochs=0", "--data-path=x"], 2, "'epochs' cannot be 0"),
        (["--data-path=x", "--layers=3"], 2, "--layers"),
        (["--data-path=/nowhere"], 3, "/nowhere"),
        ([f"--data-path={damaged}"], 3, "train-images-idx3-ubyte.gz is damaged"),
    ):
        assert main(argv) == code
        captured = capfd.readouterr()
        assert text in captured.err
        assert captured.out == ""
        assert "Traceback" not in captured.err
    monkeypatch.setenv("TF_CONFIG", "{")
    assert main(["--data-path=x"]) == 2
    monkeypatch.delenv("TF_CONFIG")
    monkeypatch.setenv("HYPERFLOW_THREADS", "many")
    assert main(["--data-path=x"]) == 2
    assert capfd.readouterr().err.count("\n") == 2


def test_a_folder_that_cannot_be_written_is_named(alone: Ended, dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {"HYPERFLOW_CHECKPOINT_DIR": str(tmp_path / "file" / "checkpoint")}
    ended = run(tmp_path, environment, data_path=dataset.path, epochs=1, model="mlp", train_fraction=0.1)
    assert ended.code == 1
    assert "cannot be written" in ended.errors
    assert "Traceback" not in ended.errors


def test_importing_it_builds_nothing_so_that_a_warm_process_can_be_forked(dataset: Dataset) -> None:
    program = f"""
import os, sys
import hyperflow.fashion.train as trainer
from tensorflow.python.eager import context
assert context.context_safe() is None or not context.context()._initialized
for seed in (1, 2):
    if (child := os.fork()) == 0:
        os._exit(trainer.main(["--data-path={dataset.path}", "--epochs=1", "--model=mlp", f"--seed={{seed}}"]))
    assert os.waitpid(child, 0)[1] == 0
"""
    environment = {**os.environ, "HYPERFLOW_THREADS": "1"}
    environment.pop("TF_CONFIG", None)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("validation-accuracy=") == 2
