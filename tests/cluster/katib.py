"""The real Katib: its controller with the webhooks, its database manager, and what its pods are made of.

Images cannot be run here, so each has a command that does the same: the program that the image starts, from the module.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import services
from tests.cluster.controlplane import KATIB_CONTROLLER, ControlPlane
from tests.cluster.crds import load_yaml
from tests.cluster.database import DATABASE, USER, Database
from tests.cluster.processes import Server, free_ports

DB_MANAGER = "katib-db-manager.kubeflow:6789"
"""Where Katib looks for its database manager."""

_PORTAL = Path(__file__).with_name("portal.py")

_CERTIFICATES = "/tmp/cert"
"""Where the controller looks for its certificate, whatever it is told."""

_WITH_CERTIFICATES = 'mount --bind "$0" ' + _CERTIFICATES + ' && exec setpriv --pdeathsig KILL "$@"'


@dataclass(frozen=True)
class Image:
    """What a container of an image runs, and the variables that it needs for lack of a network.

    Args:
        command: Program and arguments; `{address}` is the pod's address.
        env: Its further environment.
    """

    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


class Katib:
    """Katib's servers on a control plane.

    Args:
        cluster: The control plane, which has the CRDs.
        proxy: URL of the proxy that knows the services' addresses.
        cache: Folder of the binaries.
    """

    def __init__(self, cluster: ControlPlane, proxy: str, cache: Path) -> None:
        self._cluster, self._proxy, self._cache = cluster, proxy, cache
        self._manifests = services.folder(cache) / "manifests" / "v1beta1"
        self._manager_port, self._webhook_port, self._health_port = free_ports(3)
        self._controller: Server | None = None

    @property
    def services(self) -> dict[str, tuple[str, int]]:
        """Addresses of the services that are no pods."""
        return {DB_MANAGER: ("127.0.0.1", self._manager_port)}

    @property
    def images(self) -> dict[str, Image]:
        """What the images of Katib's configuration are."""
        configured = self._config()["runtime"]
        suggestions = {entry["algorithmName"]: entry["image"] for entry in configured["suggestions"]}
        (stopping,) = configured["earlyStoppings"]
        python = {name: self._python(f"suggestion/{name}") for name in ("hyperopt", "optuna", "hyperband")}
        portal = ("python", str(_PORTAL), "{address}", "6789", str(self._cache / "bin" / "katib-goptuna"))
        collector = (str(self._cache / "bin" / "katib-file-metricscollector"),)
        return {
            suggestions["tpe"]: python["hyperopt"],
            suggestions["grid"]: python["optuna"],
            suggestions["hyperband"]: python["hyperband"],
            suggestions["sobol"]: Image(portal),
            stopping["image"]: self._python("earlystopping/medianstop"),
            configured["metricsCollectors"][0]["image"]: Image(collector, {"HTTPS_PROXY": self._proxy}),
        }

    def _python(self, service: str) -> Image:
        server = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self._cluster.port)}
        command = (str(self._cache / "bin" / services.NAME), service, "{address}")
        return Image(command, {"grpc_proxy": self._proxy, "PYTHONUNBUFFERED": "1", **server})

    def launch(self) -> None:
        """Start the database and its manager, which takes five seconds before it first looks for the database.

        Raises:
            ServerError: The database does not start.
        """
        self._launch_manager(self._start_database())

    def start(self) -> None:
        """Start the controller, and return when all is ready; `launch` comes first.

        Raises:
            ServerError: A server does not start.
        """
        self._cluster.servers["katib-db-manager"].wait_until_ready()
        objects = load_yaml(self._manifests / "components" / "controller" / "rbac.yaml")
        self._cluster.create([*objects, self._config_map()])
        self._start_controller()

    def resume(self) -> None:
        """Take up work again."""
        assert self._controller is not None
        self._controller.start()
        self._cluster.create(self._webhooks())

    def pause(self) -> None:
        """Do nothing, and have a say in nothing, until `resume`: Experiments and pods are admitted as they are."""
        assert self._controller is not None
        self._cluster.delete_webhooks(self._webhooks())
        self._controller.kill()

    def _config(self) -> dict[str, Any]:
        """Return the released configuration with our ports and certificates."""
        path = self._manifests / "installs" / "katib-standalone" / "katib-config.yaml"
        config: dict[str, Any] = yaml.safe_load(path.read_text())
        config["init"]["certGenerator"]["enable"] = False
        config["init"]["controller"] |= {
            "webhookPort": self._webhook_port,
            "metricsAddr": "0",
            "healthzAddr": f"127.0.0.1:{self._health_port}",
        }
        return config

    def _config_map(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "katib-config", "namespace": "kubeflow"},
            "data": {"katib-config.yaml": yaml.safe_dump(self._config())},
        }

    def _webhooks(self) -> list[dict[str, Any]]:
        path = self._manifests / "components" / "webhook" / "webhooks.yaml"
        return self._cluster.webhooks_by_url(load_yaml(path), self._webhook_port)

    def _start_database(self) -> Database:
        folder = self._cluster.folder / "postgres"
        self._cluster.folder.chmod(0o711)  # the server runs as somebody else where we are root
        folder.mkdir()
        database = Database(folder)
        self._cluster.servers[database.server.name] = database.server
        database.start()
        return database

    def _launch_manager(self, database: Database) -> None:
        environment = {
            "DB_NAME": "postgres",
            "DB_USER": USER,
            "KATIB_POSTGRESQL_DB_DATABASE": DATABASE,
            "KATIB_POSTGRESQL_DB_HOST": "127.0.0.1",
            "KATIB_POSTGRESQL_DB_PORT": str(database.port),
        }
        address = f"127.0.0.1:{self._manager_port}"
        self._cluster.start_server(
            "katib-db-manager", {"listen-address": address}, f"tcp://{address}", environment, wait=False
        )

    def _start_controller(self) -> None:
        Path(_CERTIFICATES).mkdir(exist_ok=True)
        config = self._cluster.folder / "katib-config.yaml"
        config.write_text(yaml.safe_dump(self._config()))
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        certificates = str(self._cluster.certificates.folder)
        self._controller = self._cluster.start_server(
            "katib-controller",
            {"katib-config": config, "kubeconfig": self._cluster.kubeconfig_of(KATIB_CONTROLLER)},
            f"http://127.0.0.1:{self._health_port}/readyz",
            {"HTTPS_PROXY": self._proxy},
            before=["unshare", *user, "--mount", "sh", "-c", _WITH_CERTIFICATES, certificates],
        )
        self._cluster.create(self._webhooks())
