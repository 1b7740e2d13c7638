"""The life of versions in the real Model Registry, with a real PostgreSQL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hyperflow.errors import Unavailable
from hyperflow.tracking import versions
from hyperflow.tracking.registry import Registry
from tests.cluster import database
from tests.cluster.binaries import default_cache, find, missing
from tests.cluster.modules import MODEL_REGISTRY
from tests.cluster.processes import Server, free_ports
from tests.runner.laptop import Laptop, laptop
from tests.tracking import life

__all__ = ["laptop"]
BINARY = f"model-registry-{MODEL_REGISTRY}"
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Real:
    """The server, and its database's."""

    url: str
    server: Server


@pytest.fixture
def real() -> Iterator[Real]:
    absent = [name for name in (BINARY, database.NAME) if name in missing(default_cache())]
    if absent:
        pytest.skip(f"not here: {', '.join(absent)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)  # the database runs as somebody else where we are root
        (folder / "postgres").mkdir()
        held = database.Database(folder / "postgres")
        held.start()
        (port,) = free_ports(1)
        made = Real(f"http://127.0.0.1:{port}", _server(folder, held, port))
        try:
            made.server.start()
            yield made
        finally:
            made.server.stop()
            held.server.stop()


def _server(folder: Path, held: database.Database, port: int) -> Server:
    source = f"postgresql://{database.USER}@127.0.0.1:{held.port}/{database.DATABASE}?sslmode=disable"
    command = [
        str(find(BINARY, default_cache())), "proxy", "--hostname=127.0.0.1", f"--port={port}",
        "--datastore-type=embedmd", "--embedmd-database-type=postgres", f"--embedmd-database-dsn={source}",
    ]  # fmt: skip
    ready = f"http://127.0.0.1:{port}/{Registry.root}/registered_models"
    return Server("model-registry", command, ready, folder / "log")


def test_life_of_versions(real: Real, root: Path) -> None:
    life.live(Registry(real.url))


def test_outage_is_mended_by_a_sync(real: Real, root: Path) -> None:
    model = life.deployed("one")
    versions.sync("one", Registry(real.url))
    life.promoted("one", model)
    real.server.kill()
    with pytest.raises(Unavailable, match="gives no answer"):
        versions.sync("one", Registry(real.url))
    real.server.start()
    life.assert_version(Registry(real.url), "one", "deployed")
    versions.sync("one", Registry(real.url))
    life.assert_version(Registry(real.url), "one", "serving")


def test_whole_runs_of_this_machine(real: Real, laptop: Laptop) -> None:
    """One is registered, the next while the registry is down; a sync makes up for it, and for the one it replaced."""
    quick = ("model_name=fashion", "max_trials=1", "force=true", "accuracy_floor=0", "smoke_accuracy_floor=0")
    code, output = laptop.call("run", "--run-id", "one", values=[*quick, f"model_registry={real.url}"])
    assert code == 0, output
    assert "warning" not in output
    registry = Registry(real.url)
    before = life.version(registry, "one")
    assert before["customProperties"]["hyperflow.stage"]["string_value"] == "serving"
    artifact = life.get(registry, "model_artifact", name="one", parentResourceId=before["id"])
    assert artifact["uri"] == (laptop.volume / "models" / "fashion" / "one").as_uri()
    real.server.kill()
    code, output = laptop.call("run", "--run-id", "two", values=[*quick, f"model_registry={real.url}"])
    assert code == 0, output
    assert f"hyperflow sync two --model-registry {real.url}" in output
    assert laptop.summary("two")["warnings"]
    real.server.start()
    code, output = laptop.again("sync", "two", "--model-registry", real.url)
    assert code == 0, output
    stages = {name: life.version(registry, name) for name in ("one", "two")}
    assert {name: each["customProperties"]["hyperflow.stage"]["string_value"] for name, each in stages.items()} == {
        "one": "replaced", "two": "serving",
    }  # fmt: skip
    assert {name: each["state"] for name, each in stages.items()} == {"one": "ARCHIVED", "two": "LIVE"}
