"""Run the script or module of a job as ``__main__``, for the trainer and the exporter."""

import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path

from rekindle.jobs.job import Job
from rekindle.jobs.trainer.source_snapshot import SourceSnapshot


def run(
    job: Job, snapshot: SourceSnapshot | None, begins: Callable[[], None] = lambda: None
) -> None:
    """Run a job's script or module, with the code of ``snapshot`` if the job has one.

    Args:
        begins: called when all is prepared.
    """
    if job.script is not None:
        if snapshot is not None:
            folder, source = snapshot.folder, snapshot.script_source(job.script)
        else:
            folder = str(Path(job.script).resolve().parent)
            source = Path(job.script).read_bytes()
        sys.path.insert(0, folder)
        sys.argv = [job.script, *job.args]
        code = compile(source, job.script, "exec", dont_inherit=True)
        script = types.ModuleType("__main__")
        script.__dict__.update(__file__=job.script, __builtins__=__builtins__)
        sys.modules["__main__"] = script
        begins()
        exec(code, script.__dict__)
    else:
        assert job.module is not None
        sys.path.insert(0, job.workdir)
        sys.argv = [job.module, *job.args]
        begins()
        runpy.run_module(job.module, run_name="__main__", alter_sys=True)
