"""Who submitted a job, and who stopped it, is what the kernel says of the files in the inbox.

Kinds of source: shared job queues in which every job belongs to the service's user, so that nobody
knows whose job it is, or who ended it.
"""

import json
import os
from pathlib import Path

import pytest
from rig import Rig, wait_for

from rekindle.daemon.intake import requests
from rekindle.jobs.job import Job
from rekindle.state import accounts
from rekindle.state.paths import Home

NOBODY_KNOWS = 54321
"""A user that the host has no name for, as in a container or without its directory service."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="giving files to users needs root")


def drop(home: Home, name: str, text: str, owner: int) -> None:
    new = home.inbox / f".{name}"
    new.write_text(text)
    os.chown(new, owner, -1)
    new.rename(home.inbox / name)


@pytest.mark.slow
def test_users_are_recorded_and_shown(rig: Rig, tmp_path: Path) -> None:
    """In job.json, ledger, `ls`, `show`, events, reasons, and after a rebuild of the ledger."""
    sleep = f'command = ["sleep", "600"]\nworkdir = "{tmp_path}"\n'
    known = accounts.user_name(1)
    assert known != "1", "the host has no user 1"
    drop(rig.home, "hers.toml", sleep, NOBODY_KNOWS)
    drop(rig.home, "his.toml", f"{sleep}priority = -1\n", 1)
    rig.start()
    rig.wait_state("hers-1", "running")
    listed = {job["id"]: (job["uid"], job["user"]) for job in rig.ls()}
    assert listed == {"hers-1": (NOBODY_KNOWS, "54321"), "his-1": (1, known)}
    assert "user" in rig.cli("ls").split("state")[0]
    assert f"submitted by {known} (uid 1)" in rig.cli("show", "his-1")

    # a running job and a waiting one; the daemon reads the owner of each request
    paused = requests.write(rig.home, "pause", None)
    wait_for(lambda: not paused.exists(), "the queue is paused")
    ask_as = {"hers-1": 1, "his-1": NOBODY_KNOWS}
    for job, uid in ask_as.items():
        path = rig.home.inbox / f".{job}"
        path.write_text(json.dumps({"format": 1, "verb": "stop", "job": job, "uid": 0}))
        os.chown(path, uid, -1)
        path.rename(rig.home.inbox / f"{job}.request.json")
    held = {job: rig.wait_state(job, "held")["reason"] for job in ask_as}
    assert held["hers-1"].startswith(f"It was stopped on request of {known};")
    assert held["his-1"].startswith("It was stopped on request of 54321 before it ran")
    events = rig.show("hers-1")["events"]
    reasons = [e["data"]["reason"] for e in events if e["kind"] == "job_stopping"]
    assert [f"Stopped on request of {known}." in reason for reason in reasons] == [True]
    answered = [e["data"] for e in events if e["kind"] == "request_answered"]
    assert [(one["user"], one["uid"]) for one in answered] == [(known, 1)]

    assert rig.end() == 0
    rig.cli("verify", "--rebuild")
    assert {job["id"]: (job["uid"], job["user"]) for job in rig.ls()} == listed


def test_a_job_of_an_older_version_has_no_user() -> None:
    """Its job.json lacks the fields; nothing is made up."""
    old = json.loads(Job(name="a", id="a-1", workdir="/", command=["true"]).to_json())
    del old["uid"], old["user"]
    job = Job.from_json(json.dumps(old))
    assert (job.uid, job.user) == (None, None)
