"""Stand by for an attempt of a job: start a spare, wait for the daemon, and become the keeper.

The daemon owns this process over a socket in the place of standard input. When the daemon ends, the
wait ends; when this process ends, the kernel kills the spare. Standard library only.
"""

import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Final, NoReturn

from rekindle.jobs import environment, process
from rekindle.jobs.handover.channel import Channel, Closed, Message
from rekindle.jobs.job import Job
from rekindle.jobs.keeper import main as keeper
from rekindle.jobs.keeper import spawn
from rekindle.jobs.keeper.memory_limit import MemoryLimit
from rekindle.jobs.spare.held import Held, Start
from rekindle.state.errors import RekindleError
from rekindle.state.paths import Run
from rekindle.state.run import entries, summary

_HEAVY: Final = frozenset({"tensorflow", "keras", "tf_keras", "jax", "torch"})
"""Libraries whose import is worth a spare."""
_LOOK_MS: Final = 2000
"""Signals are blocked, and looked for so often."""


class NoSpare(Exception):
    """The job gets no spare."""


def main() -> NoReturn:
    """Run ``standby RUN_DIR ATTEMPT``, with the daemon's socket as standard input."""
    run, attempt = Run(Path(sys.argv[1])), int(sys.argv[2])
    signal.pthread_sigmask(signal.SIG_BLOCK, spawn.SIGNALS)
    process.become_subreaper()
    daemon = Channel.on(os.dup(0))
    held: Held | None = None
    try:
        held = _start_spare(run, attempt)
        started = _wait(daemon, held)
    except (NoSpare, OSError, RekindleError, ValueError) as error:
        _say(daemon, {"unfit": str(error)})
        started = None
    if started is None:
        if held is not None:
            held.drop()
            held.limit.remove()
        sys.exit(0)
    message, fds = started
    log, *lock = fds
    os.dup2(log, 2)
    os.close(log)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    daemon.close()
    gpus = message["gpus"]
    os.environ.pop(environment.GPUS, None)
    if gpus is not None:
        os.environ[environment.GPUS] = ",".join(gpus)
    keeper.run_attempt(run, int(message["attempt"]), tuple(lock), held)


def _start_spare(run: Run, attempt: int) -> Held:
    """Start the process that imports the libraries which the last attempt has recorded."""
    job = Job.read(run.job_file)
    if job.command is not None or job.script is None:
        raise NoSpare("only a script gets one")
    modules: list[str] = []
    ended = "no attempt has recorded what the script imports"
    for entry in entries.imported.among(summary.read(run).entries):
        modules, ended = entry["modules"], str(entry.get("ended") or "")
    while modules and modules[-1].partition(".")[0] not in _HEAVY:
        modules = modules[:-1]
    if not modules:
        raise NoSpare(ended)
    ends = Channel.pair()
    start = Start(
        (job.script, *job.args, str(job.seed)),
        spawn.command_line(job, run, attempt, ends[1].fileno()),
        spawn.variables(job, run, attempt, None, began=time.monotonic()),
        job.workdir,
        spawn.umask(job),
        job.resources.memory,
    )
    limit = MemoryLimit.build(start.memory, f"rekindle-{run.id}-{os.getpid()}")
    ours, theirs = Channel.pair()
    output = os.memfd_create("rekindle-spare")
    folder = os.path.dirname(os.path.realpath(job.script))
    folders = [folder]
    if job.source is not None:
        folders = [
            os.path.dirname(os.path.join(root, job.source.script or ""))
            for root in (job.source.root, os.path.realpath(run.source))
        ]
    ours.send(
        {"modules": modules, "seed": job.seed, "argv": [job.script, *job.args], "folders": folders}
    )
    spare = spawn.spawn(
        start.argv,
        start.variables,
        start.workdir,
        (ends[1].fileno(),),
        limit,
        start.umask,
        stdin=theirs.fileno(),
        output=output,
    )
    theirs.close()
    return Held(start, spare, ours, limit, output, ends)


def _wait(daemon: Channel, held: Held) -> tuple[Message, list[int]] | None:
    """Wait for the daemon's word; None where it has ended, or asks for the end.

    Raises:
        NoSpare: the spare has ended.
    """
    poll = select.poll()
    poll.register(daemon, select.POLLIN)
    poll.register(held.channel, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll(_LOOK_MS)}
        if daemon.fileno() in ready:
            try:
                message, fds = daemon.receive(0)
            except Closed:
                return None
            return (message, fds) if "attempt" in message else None
        if signal.sigpending() & {signal.SIGTERM, signal.SIGINT}:
            return None
        if held.channel.fileno() in ready:
            try:
                answer, _ = held.channel.receive(0)
            except Closed as closed:
                raise NoSpare(f"the spare has ended ({closed})") from closed
            if "ready" not in answer:
                raise NoSpare(str(answer.get("unfit")))
            _say(daemon, {"ready": held.process.pid})


def _say(daemon: Channel, message: Message) -> None:
    try:
        daemon.send(message)
    except Closed:
        pass
