"""KFP's protos as each release has them: fetched from PyPI by hash, kept in .cache/, one folder a release.

`python -m tests.pipelines.released` fetches them and fails where it cannot; the tests do it when they start.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.pinned import Unreachable, install

PINS = Path(__file__).parent / "protos"
RELEASES = tuple(sorted((path.stem for path in PINS.glob("*.txt")), key=lambda name: [*map(int, name.split("."))]))

# The releases have the same module and message names, so each is read by an interpreter of its own. It has protobuf
# from this environment and, once that is imported, nothing else of it: its kfp would win over the release's.
PARSER = """
import importlib, json, sys, types
import google.protobuf.duration_pb2, google.rpc.status_pb2, yaml
from google.protobuf.json_format import ParseDict, ParseError
release, *files = sys.argv[1:]
sys.path[:] = [release, *(path for path in sys.path if not path.endswith("site-packages"))]
from kfp.pipeline_spec import pipeline_spec_pb2 as pipeline
package = types.ModuleType("kfp.kubernetes")  # its __init__ wants the SDK
package.__path__ = [f"{release}/kfp/kubernetes"]
sys.modules[package.__name__] = package
kubernetes = importlib.import_module("kfp.kubernetes.kubernetes_executor_config_pb2")
refused = {}
for file in files:
    specification, *platforms = yaml.safe_load_all(open(file))
    try:
        ParseDict(specification, pipeline.PipelineSpec())
        ParseDict(specification["deploymentSpec"], pipeline.PipelineDeploymentConfig())
        for platform in platforms:
            ParseDict(platform, pipeline.PlatformSpec())
            for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
                ParseDict(executor, kubernetes.KubernetesExecutorConfig())
    except ParseError as error:
        refused[file] = str(error)
print(json.dumps(refused))
"""


def fetch(release: str) -> Path:
    """Return the folder of a release's protos, fetched if need be.

    Raises:
        Unreachable: PyPI did not answer.
        ValueError: What it sent is not what the pins say.
    """
    return install(PINS / f"{release}.txt")


def refusals(release: Path, files: Sequence[Path]) -> dict[str, str]:
    """Parse compiled YAML as strictly as a server of the release does; return what it refuses, and why."""
    command = [sys.executable, "-I", "-c", PARSER, str(release), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":
    for each in RELEASES:
        try:
            print(fetch(each))
        except Unreachable as error:
            sys.exit(str(error))
