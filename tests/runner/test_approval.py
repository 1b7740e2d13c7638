"""A run that waits for a person, as its user sees it: what it says, and how it ends."""

from __future__ import annotations

import getpass

from tests.runner.laptop import Laptop, wait_for


def wait_until_asked(laptop: Laptop, run_id: str) -> None:
    wait_for(lambda: (laptop.volume / "runs" / run_id / "approval" / "bell").exists())


def test_approved_run_goes_on_to_a_tested_model(laptop: Laptop) -> None:
    run = laptop.start("run", "--run-id", "asks", values=["approval=required"])
    wait_until_asked(laptop, "asks")
    page = (laptop.volume / "runs" / "asks" / "approval" / "page.html").read_text()
    assert "Misread images" in page
    code, said = laptop.call("approve", "asks", "--reason", "fine")
    assert code == 0, said
    output, _ = run.communicate(timeout=200)
    assert run.returncode == 0, output
    assert f"hyperflow approve asks --folder {laptop.volume}" in output.splitlines()
    decision = laptop.summary("asks")["decision"]
    assert decision["outcome"] == "deployed"
    assert decision["approval"]["who"] == getpass.getuser()
    assert laptop.summary("asks")["smoke"]
    assert f"approved by {getpass.getuser()}" in (laptop.volume / "runs" / "asks" / "report.html").read_text()


def test_rejected_run_ends_as_one_that_the_gate_refuses(laptop: Laptop) -> None:
    run = laptop.start("run", "--run-id", "asks", values=["approval=required"])
    wait_until_asked(laptop, "asks")
    laptop.kill(run)
    laptop.assert_nothing_runs()
    again = laptop.start("run", "--run-id", "asks", values=["approval=required"])
    wait_for(lambda: (laptop.volume / "runs" / "asks" / "log.txt").read_text().count("waiting: hyperflow approve") == 2)
    code, said = laptop.call("reject", "asks", "--reason", "bags are read as shirts")
    assert code == 0, said
    output, _ = again.communicate(timeout=200)
    assert again.returncode == 0, output
    summary = laptop.summary("asks")
    assert summary["decision"]["outcome"] == "refused"
    assert "bags are read as shirts" in summary["decision"]["reason"]
    assert summary["endpoint"] is None
    laptop.assert_nothing_runs()
