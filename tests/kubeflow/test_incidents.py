"""What counts as one incident of a training, in the order in which pods come and fail."""

from __future__ import annotations

import time

import pytest

from hyperflow.engines.kubeflow.incidents import Incidents


def count(story: str) -> int:
    """Count the incidents of a story: `a` is seen, `-a` fails."""
    made = Incidents()
    for word in story.split():
        if word.startswith("-"):
            made.failed(word[1:])
        else:
            made.see(word)
    return made.count


@pytest.mark.parametrize(
    ("story", "times"),
    [
        ("a1 b1 c1", 0),
        ("a1 b1 c1 -b1", 1),
        ("a1 b1 c1 -b1 b2 -a1 a2 -c1 c2", 1),  # one loss, and two peers that end because of it
        ("a1 b1 -b1 b2 -a1 -b2 a2 b3", 1),  # the new one meets the old peer, and ends with it
        ("a1 -a1 a2 -a2 a3 -a3", 3),  # alone there is nobody to blame
        ("a1 b1 -b1 b2 -a1 a2 -b2 b3 -a2 a3", 2),
        ("a1 b1 -a1 -b1 a2 b2 -b2 -a2 a3 b3 -a3 -b3", 3),
    ],
)
def test_failures_that_follow_from_another_are_not_counted(story: str, times: int) -> None:
    assert count(story) == times


def test_peer_that_fails_much_later_is_another_incident(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers with parameter servers do not end with one another."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    made = Incidents()
    for uid in ("a1", "b1"):
        made.see(uid)
    made.failed("a1")
    now = 3600.0
    made.failed("b1")
    assert made.count == 2


def test_two_that_end_each_other_for_ever_are_not_one_incident() -> None:
    story = ["a0", "b0"]
    for number in range(20):
        story += [f"-a{number}", f"a{number + 1}", f"-b{number}", f"b{number + 1}"]
    assert count(" ".join(story)) >= 10
