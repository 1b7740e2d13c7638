"""Write the golden files anew; the difference is to be read before it is committed."""

from __future__ import annotations

import yaml

from tests.kubeflow.test_manifests import GOLDEN, documents

if __name__ == "__main__":
    for name, document in documents().items():
        (GOLDEN / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False, width=120))
