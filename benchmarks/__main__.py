"""`python -m benchmarks SECTION…`: measure sections, each into benchmarks/results, then make docs/benchmarks.md.

A section whose record is younger than --max-age hours is not measured again, so what was cut off goes on. `render`
only makes the page. With --quick (QUICK=1) each section runs as small as it can: that tells that it works, no more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import ablation, page, presets, record, serve, train, tune, whole

SECTIONS = {"run": whole, "presets": presets, "ablation": ablation, "train": train, "tune": tune, "serve": serve}


def main(argv: list[str]) -> int:
    """Measure what is asked for and render it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="+", choices=[*SECTIONS, "all", "render"])
    parser.add_argument("--quick", action="store_true", help="tiny settings, 5 minutes in all")
    parser.add_argument("--max-age", type=float, default=0, help="hours for which a record is good; 0: none")
    parser.add_argument("--results", type=Path, help="folder of the records; a quick one never goes to the committed")
    for module in SECTIONS.values():
        module.add_arguments(parser)
    asked = parser.parse_args(argv)
    folder = asked.results or (record.RESULTS / "quick" if asked.quick else record.RESULTS)
    for name in SECTIONS if "all" in asked.sections else [each for each in asked.sections if each != "render"]:
        if record.is_younger(name, asked.max_age, asked.quick, folder):
            print(f"{name}: its record is younger than {asked.max_age:g} h", file=sys.stderr)
            continue
        rows = SECTIONS[name].run(asked)
        print(record.write(name, rows, ["python", "-m", "benchmarks", *argv], asked.quick, folder))
    ours = folder == record.RESULTS
    print(page.write(folder, page.PAGE if ours else folder / "benchmarks.md"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
