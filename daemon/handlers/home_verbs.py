"""Carry out the verbs about the whole home; each returns a sentence on what was done."""

from collections.abc import Callable, Mapping
from typing import Final

from rekindle.daemon.config import Retention
from rekindle.daemon.handlers.tools import Tools
from rekindle.daemon.intake.requests import Request
from rekindle.daemon.transfer import transfer
from rekindle.state.errors import UsageError


def pause(tools: Tools, request: Request) -> str:
    """Start nothing new; with ``now`` also save and end what runs."""
    return tools.queue.pause(free=bool(request.fields.get("now")), by=tools.asked_by)


def resume(tools: Tools, request: Request) -> str:
    """Resume a paused queue, or use ``gpu`` again despite its faults."""
    gpu = request.fields.get("gpu")
    return tools.queue.resume(by=tools.asked_by) if gpu is None else tools.queue.take_back(str(gpu))


def prune(tools: Tools, request: Request) -> str:
    """Remove checkpoints that are not needed, of the jobs in ``only`` or of all."""
    only, age = request.fields.get("only"), request.fields.get("max_age")
    if only is not None and not (
        isinstance(only, list) and all(isinstance(name, str) for name in only)
    ):
        raise UsageError(
            "The jobs must be a list of ids.", hint="`rekindle prune` writes such a request."
        )
    if age is None:
        return tools.pruning.begin(only, Retention(max_bytes=0))
    if isinstance(age, bool) or not isinstance(age, int | float):
        raise UsageError(
            "The age must be a number of seconds.", hint="`rekindle prune` writes such a request."
        )
    return tools.pruning.begin(only, Retention(max_age=float(age)))


def import_run(tools: Tools, request: Request) -> str:
    """Enter a run that was unpacked from an archive into the ledger."""
    assert request.job is not None
    hold = bool(request.fields.get("hold"))
    return transfer.settle(tools.home, tools.ledger, request.job, hold=hold)


def check(tools: Tools, request: Request) -> str:
    """Try the interpreters and folders of the waiting jobs, for `rekindle doctor`."""
    check_id, seconds = request.fields.get("id"), request.fields.get("timeout")
    if not isinstance(check_id, str) or not isinstance(seconds, int | float):
        raise UsageError(
            "A check has an id and a number of seconds.",
            hint="`rekindle doctor` writes such a request.",
        )
    imports = bool(request.fields.get("imports"))
    return tools.checks.begin(check_id, imports=imports, timeout=float(seconds))


HANDLERS: Final[Mapping[str, Callable[[Tools, Request], str]]] = {
    "pause": pause,
    "resume": resume,
    "check": check,
    "prune": prune,
    "import": import_run,
}
