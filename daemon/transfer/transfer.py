"""Jobs from another box: from the waiting room `imports/` to a job of this home, exactly once.

`import-run` leaves a verified run there under a token and asks for it. Only the daemon gives
numbers, so that two jobs never have one: the run's `job.json` gets its new id, one rename
makes it `runs/<id>`, and the ledger takes its whole journal in. The token in `job.json`
finds again what a crash interrupted.
"""

import os
import re
import time
from typing import Final

from rekindle.daemon.verify import rebuild
from rekindle.jobs.job import Job
from rekindle.state import durable
from rekindle.state.errors import SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import TERMINAL, JobState
from rekindle.state.paths import Home, Run

_TOKEN: Final = re.compile(r"[0-9a-f]+-import")


def settle(home: Home, ledger: Ledger, token: str, *, hold: bool) -> str:
    """Makes a job of what waits under ``token``; says in a sentence what it became.

    Args:
        hold: leave it held; else it goes on, unless it was over before.

    Raises:
        OSError: the home cannot be written.
    """
    if not _TOKEN.fullmatch(token):
        return "There is no import of this name."
    waiting = home.imports / token
    job_id = ledger.find_claim(token)
    if job_id is None:
        if not waiting.is_dir():
            return "There is no import of this name."
        try:
            job = Job.read(waiting / "job.json")
        except (OSError, SpecError) as error:
            return f"The import holds no job: {error}"
        job_id = _accept(home, ledger, waiting, job)
    row = ledger.job(job_id)
    assert row is not None
    if row.state in TERMINAL:
        return f"It is here as {job_id}, {row.state}."
    if hold or row.state not in (JobState.HELD, JobState.WAITING):
        return f"It is here as {job_id}, {row.state}."
    ledger.set_state(
        job_id, JobState.QUEUED, "It came from another box and goes on here.", now=time.time()
    )
    return f"It is here as {job_id} and goes on where it was."


def _accept(home: Home, ledger: Ledger, waiting: os.PathLike[str], job: Job) -> str:
    number = ledger.highest_number(job.name) + 1
    while os.path.lexists(home.runs / f"{job.name}-{number}"):
        number += 1
    job = job.replace(id=f"{job.name}-{number}")
    here = Run(home.imports / os.path.basename(waiting))
    durable.write_bytes(here.job_file, job.to_json().encode(), 0o600)
    os.rename(here.root, home.runs / job.id)
    durable.fsync_folder(home.runs)
    enter(home, ledger, job)
    return job.id


def enter(home: Home, ledger: Ledger, job: Job) -> None:
    """Takes a run that has a history into the ledger, in one transaction."""
    with ledger.transaction():
        rebuild.enter(ledger, home.run(job.id), job)
