"""Fetch Fashion-MNIST into the user's cache: `python -m hyperflow.datasets`."""

from __future__ import annotations

import sys

from hyperflow.datasets import fashion_mnist, fetch, sources
from hyperflow.errors import HyperflowError


def main() -> int:
    """Fetch Fashion-MNIST into the cache unless it is there, and print its folder."""
    try:
        print(fetch.fetch(sources.cache_folder(fashion_mnist.NAME)))
    except HyperflowError as error:
        print(error.told, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
