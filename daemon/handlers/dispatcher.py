"""Carry out request files in their order, each at most once in effect."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog

from rekindle.daemon import errors
from rekindle.daemon.handlers import extend, fork, home_verbs, job_verbs
from rekindle.daemon.handlers.new_code import NotYet
from rekindle.daemon.handlers.tools import Tools
from rekindle.daemon.intake import requests
from rekindle.daemon.intake.requests import Request
from rekindle.state import crash_points
from rekindle.state.errors import NotDone, NotFound, RekindleError, UsageError
from rekindle.state.hints import name_job

OF_JOB: Final = {**job_verbs.HANDLERS, "extend": extend.extend, "fork": fork.fork}
"""Handlers of the verbs about one job."""
_EXPECTED: Final = (RekindleError, OSError, ValueError, TypeError, LookupError, OverflowError)
_REFUSALS: Final = (NotDone, NotFound, UsageError)
"""Errors of a handler that answer a request; its file is not moved to `rejected/`."""


class Reject(Protocol):
    """Move a file out of the inbox to `rejected/`, with the reason beside it."""

    def __call__(self, path: Path, what: str, *, hint: str) -> object: ...


class Dispatcher:
    """Pass each request to the handler of its verb; a repeated request changes nothing."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._remaining: dict[str, int] = {}
        self._waits = False
        self._log = structlog.get_logger()

    def dispatch(self, files: Sequence[Path], reject: Reject) -> None:
        """Carry out requests; one that fails delays no other job's.

        After a transient error a request is kept for the next tick, with all later requests for
        the same job; so is one that waits for work in the background. After any other error it is
        refused with the reason.

        Raises:
            Exception: the first error for which a request was kept.
        """
        kept: Exception | None = None
        self._waits = False
        later: set[str | None] = set()
        for file in files:
            request = None
            try:
                if self._remains(file):
                    continue
                request = self._read(file, reject)
                if request is not None and request.job not in later:
                    self._dispatch(request, reject)
            except NotYet:
                self._waits = True
                later.add(request.job if request is not None else None)
            except Exception as error:
                kept = kept or error
                if errors.is_of_ledger(error):
                    break  # each of the others would fail after the same wait
                if request is not None and errors.is_transient(error):
                    later.add(request.job)
        if kept is not None:
            raise kept

    @property
    def waits(self) -> bool:
        """Return whether a request waits for work in the background."""
        return self._waits

    @property
    def remaining(self) -> frozenset[str]:
        """The names of requests that were carried out and cannot be removed."""
        return frozenset(self._remaining)

    def carry_out(self, request: Request) -> str:
        """Carry out a request and return in a sentence what was done, or why nothing was."""
        user = request.user
        tools = dataclasses.replace(
            self._tools,
            asked_by=user,
            asked_uid=request.uid,
            request=request.file.name,
            asked_at=request.at,
        )
        job = None if request.job is None else tools.ledger.job(request.job)
        code, hint = 0, ""
        try:
            if request.verb in home_verbs.HANDLERS:
                answer = home_verbs.HANDLERS[request.verb](tools, request)
            elif job is None:
                raise NotFound(
                    f"There is no job {request.job}.", hint="`rekindle ls` lists all jobs."
                )
            else:
                answer = OF_JOB[request.verb](tools, job, request.fields)
        except _REFUSALS as error:
            answer, code = error.what, error.exit_code
            hint = name_job(error.hint, job.id) if job else error.hint
        # a verb waits for this event; its exit code is `code`
        tools.ledger.add_event(
            "request_answered",
            job=job.id if job else None,
            data={
                "verb": request.verb,
                "answer": answer,
                "request": request.file.name,
                "user": user or None,
                "uid": request.uid,
                "code": code,
                "hint": hint,
            },
        )
        self._log.info(
            "request_answered",
            job=request.job,
            verb=request.verb,
            answer=answer,
            code=code,
            user=user or None,
        )
        return answer

    def _remains(self, file: Path) -> bool:
        """Return whether a request was carried out and could not be removed."""
        inode = self._remaining.get(file.name)
        with contextlib.suppress(FileNotFoundError):
            if inode is not None and file.lstat().st_ino == inode:
                return True
        self._remaining.pop(file.name, None)
        return False

    def _read(self, file: Path, reject: Reject) -> Request | None:
        try:
            return requests.read(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            if errors.is_transient(error):
                raise
            if isinstance(error, PermissionError):
                reject(
                    file,
                    "The request cannot be read by the daemon.",
                    hint="Use the verbs of `rekindle`, or let its group read it: chmod g+r.",
                )
            else:
                reject(
                    file,
                    f"It is not a request: {error}.",
                    hint="Use the verbs of `rekindle`; they write requests.",
                )
            return None

    def _dispatch(self, request: Request, reject: Reject) -> None:
        try:
            self.carry_out(request)
        except NotYet:
            raise
        except Exception as error:
            if errors.is_transient(error):
                raise
            if not isinstance(error, _EXPECTED):
                self._log.exception("request_not_carried_out", file=request.file.name)
            what, hint = errors.describe(error)
            reject(request.file, f"It could not be carried out: {what}", hint=hint)
            return
        crash_points.reached("request_answered")
        self._remove(request.file)
        crash_points.reached("request_removed")

    def _remove(self, file: Path) -> None:
        """Remove a request; one that cannot be removed is not carried out again."""
        try:
            inode = file.lstat().st_ino
            file.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            if errors.is_transient(error):
                raise
            self._remaining[file.name] = inode
            self._log.error("request_not_removed", file=file.name, error=str(error.strerror))
