"""In the place of KFP's launcher: starts the step's program, and dies of SIGTERM at once without a word to it.

`--copy PATH` writes it there, as the launcher copies itself for the main container; with `--idle` it starts nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPT = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
"$@"
exit $?
"""

if __name__ == "__main__":
    target = Path(sys.argv[sys.argv.index("--copy") + 1])
    target.write_text("#!/bin/sh\n" if "--idle" in sys.argv else SCRIPT)
    target.chmod(0o755)
