"""TF_CONFIG: which process of a distributed training this is, and the strategy it follows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from hyperflow.errors import InvalidParameter

ENVIRONMENT = "TF_CONFIG"

COLLECTIVE_SECONDS = 120
"""How long a worker waits in one exchange for the others before it takes them for lost."""

JOIN_SECONDS = 600
"""How long a worker waits at the start for all others to be there."""

_TRAINING_ROLES = ("chief", "worker")


@dataclass(frozen=True)
class Member:
    """One process of a training.

    Args:
        role: TF_CONFIG's task type: `chief`, `worker`, `ps` or `evaluator`.
        index: Its number among those of the same role.
        addresses: Addresses of the chief and the workers, by role.
    """

    role: str
    index: int
    addresses: Mapping[str, tuple[str, ...]]

    @property
    def trains(self) -> bool:
        """Whether this process computes gradients."""
        return self.role in _TRAINING_ROLES

    @property
    def leads(self) -> bool:
        """Whether this process saves: the chief, or the first worker where there is no chief."""
        return self.role == "chief" or (self.role == "worker" and self.index == 0 and "chief" not in self.addresses)

    @property
    def workers(self) -> int:
        """Processes that compute gradients."""
        return sum(len(addresses) for addresses in self.addresses.values())

    def strategy(self) -> tf.distribute.Strategy:
        """Make the strategy: across processes, across this machine's GPUs, or none."""
        if self.workers > 1:
            resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec({role: list(addresses) for role, addresses in self.addresses.items()}),
                task_type=self.role,
                task_id=self.index,
                rpc_layer="grpc",
            )
            options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=COLLECTIVE_SECONDS)
            return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
        if len(tf.config.list_logical_devices("GPU")) > 1:
            return tf.distribute.MirroredStrategy()
        return tf.distribute.get_strategy()


def member(config: str) -> Member:
    """Read TF_CONFIG; an empty text means a training of one process.

    Raises:
        InvalidParameter: It is not what TensorFlow defines.
    """
    if not config.strip():
        return Member("worker", 0, {"worker": ("localhost:0",)})
    try:
        parsed = json.loads(config)
        cluster, task = parsed.get("cluster") or {}, parsed.get("task") or {}
        addresses = {str(role): tuple(str(address) for address in cluster[role]) for role in sorted(cluster)}
        found = Member(str(task.get("type", "worker")), int(task.get("index", 0)), addresses)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidParameter(ENVIRONMENT, config, "a cluster and a task as JSON, as TensorFlow defines it") from error
    if not addresses:
        return member("")
    if not 0 <= found.index < len(addresses.get(found.role, ())):
        raise InvalidParameter(ENVIRONMENT, config, "a task that is in the cluster")
    return Member(found.role, found.index, {role: addresses[role] for role in _TRAINING_ROLES if role in addresses})
