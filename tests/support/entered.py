"""Enter a job into a home, as an acceptance leaves it, without a daemon."""

import time

from rekindle.jobs.job import Job
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home


def enter(home: Home, ledger: Ledger, job: Job) -> None:
    """Write the run directory of a job, and its row in the ledger."""
    run = home.run(job.id)
    run.root.mkdir(exist_ok=True)
    run.job_file.write_text(job.to_json())
    run.job_file.chmod(0o600)
    ledger.insert_job(
        job.id,
        name=job.name,
        number=1,
        run_dir=str(run.root),
        priority=0,
        spec=job.to_json(secrets=False),
        claim=job.claim,
        submitted_at=time.time(),
    )
