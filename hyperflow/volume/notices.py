"""What a run's report has to say beside its work: one notice a subject, for as long as it is true.

runs/<run id>/notices/<subject>.txt
"""

from __future__ import annotations

from hyperflow.volume import files, paths


def keep(run_id: str, subject: str, text: str) -> None:
    """Keep a notice in the place of an earlier one of its subject; an empty one is none.

    Raises:
        Unavailable: The volume cannot be written.
    """
    place = paths.notices(run_id) / f"{subject}.txt"
    with files.writable(place.parent):
        if text:
            place.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(place, text)
        else:
            place.unlink(missing_ok=True)


def all_of(run_id: str) -> list[str]:
    """Return a run's notices, by their subjects' names."""
    return [path.read_text(encoding="utf-8") for path in sorted(paths.notices(run_id).glob("*.txt"))]
