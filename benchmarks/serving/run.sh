#!/bin/sh
# Compare the predictor with KServe's own server; needs wrk, taskset and two cores. Arguments go to bench.py.
set -eu
command -v wrk >/dev/null || { echo "wrk is missing: apt-get install wrk" >&2; exit 2; }
command -v taskset >/dev/null || { echo "taskset is missing: apt-get install util-linux" >&2; exit 2; }
cd "$(dirname "$0")/../.."
exec "${PYTHON:-python}" -m benchmarks.serving.bench "$@"
