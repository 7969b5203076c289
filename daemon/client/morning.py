"""Find what a person has to know about a home beside its jobs.

A paused queue, refused files, what waits in the inbox, and whether a daemon serves the home.
"""

import dataclasses
import os
import shlex
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from rekindle.daemon import daemon_status, queue_file
from rekindle.daemon.client import terminal
from rekindle.daemon.client.lines import plain
from rekindle.daemon.intake import arrivals
from rekindle.daemon.intake.arrivals import LeftAlone
from rekindle.daemon.queue_file import Decisions, FaultyGpu
from rekindle.state.counted import counted
from rekindle.state.errors import HomeUnusable
from rekindle.state.ledger.listing import Listing
from rekindle.state.ledger.rows import EventRow
from rekindle.state.paths import Home

_FEW: Final = 5
_REFUSED_S: Final = 3 * 24 * 3600.0
"""Refused files are reported for three days, or until they are removed."""
_MOST_REFUSED: Final = 200


class Line(NamedTuple):
    """Hold a line, and its style."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Morning:
    """Describe a home beside its jobs.

    Attributes:
        waiting: files in the inbox that no daemon has claimed.
        refused: events of the files in `rejected/`, the oldest first.
        gpus: those with faults.
        paused: None where the queue is not paused.
        trouble: why it is not known whether the queue is paused, else empty.
        served: whether a daemon serves the home.
        starting: the process that holds the home's lock while none serves it.
        full: the disk of the home is full.
        log: why the log of the daemon that serves it cannot be written, else empty.
        not_taken: why the daemon does not take a file in the inbox, by name.
    """

    home: Home
    waiting: list[str]
    left_alone: list[LeftAlone]
    refused: list[EventRow]
    gpus: list[FaultyGpu]
    paused: Decisions | None
    trouble: str
    served: bool
    starting: int | None
    full: bool
    log: str
    not_taken: dict[str, str]

    @classmethod
    def of(cls, home: Home, book: Listing | None, now: float) -> "Morning":
        """Look at a home."""
        try:
            waiting, left_alone = arrivals.waiting(home), arrivals.left_alone(home, now)
        except OSError:
            waiting, left_alone = [], []  # this user lacks permission, or there is no inbox
        decisions, trouble = None, ""
        try:
            decisions = queue_file.read(home)
        except HomeUnusable as error:
            trouble = str(error)
        daemon = daemon_status.find(home)
        served = daemon is not None
        starting = None if served else daemon_status.starting(home)
        return cls(
            home,
            waiting,
            left_alone,
            [] if book is None else _refused(home, book, now),
            queue_file.faulty_gpus(home),
            decisions if decisions is not None and decisions.paused else None,
            trouble,
            served,
            starting,
            starting is not None and _is_full(home),
            "" if book is None or daemon is None else _log_trouble(book, daemon.started),
            {} if book is None else _not_taken(book, waiting),
        )

    def lines(self) -> list[Line]:
        """Say it to a person; what needs an answer comes last, where a terminal ends."""
        return [
            *self._inbox(),
            *self._refusals(),
            *(Line(plain(text), "yellow") for text in (self.trouble, self.log) if text),
            *self._faulty_gpus(),
            *self._queue(),
            *self._daemon(),
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the fields that docs/json.md describes."""
        paused = self.paused
        return {
            "starting": None
            if self.starting is None
            else {"pid": self.starting, "waits_for_space": self.full},
            "queue": {
                "paused": paused is not None,
                "since": None if paused is None else paused.since,
                "by": None if paused is None else paused.by or None,
            },
            "log": self.log or None,
            "inbox": self.waiting,
            "not_taken": self.not_taken,
            "left_alone": [dataclasses.asdict(one) for one in self.left_alone],
            "faulty_gpus": [dataclasses.asdict(one) for one in self.gpus],
            "refused": [
                {
                    "file": event.data.get("file"),
                    "at": event.at,
                    "error": event.data.get("error"),
                    "hint": event.data.get("hint"),
                    "command": self.resubmit(event),
                }
                for event in self.refused
            ],
        }

    def resubmit(self, refused: EventRow) -> str:
        """Return the command that submits a refused file, once it is corrected."""
        file = str(self.home.rejected / str(refused.data.get("file")))
        return f"mv -- {shlex.quote(file)} {shlex.quote(str(self.home.inbox))}/"

    def _inbox(self) -> list[Line]:
        found = []
        if self.waiting:
            # those that need a person first
            names = sorted(self.waiting, key=lambda name: name not in self.not_taken)
            few = ", ".join(self._why_waiting(name) for name in names[:_FEW])
            found.append(Line(f"In the inbox: {few}{_and_more(names)}"))
        if self.left_alone:
            few = ", ".join(
                f"{terminal.printable(one.name)} ({one.reason})" for one in self.left_alone[:_FEW]
            )
            found.append(Line(f"Left alone in the inbox: {few}{_and_more(self.left_alone)}"))
        return found

    def _why_waiting(self, name: str) -> str:
        why = self.not_taken.get(name)
        return terminal.printable(name) + (f" (stays: {plain(why)})" if why else "")

    def _refusals(self) -> list[Line]:
        found = []
        for event in self.refused[-_FEW:]:
            name = terminal.printable(str(event.data.get("file")))
            error, hint = (plain(str(event.data.get(key) or "")) for key in ("error", "hint"))
            found.append(Line(f"Refused: {name} ({terminal.when(event.at)}) {error}", "red"))
            found.append(Line(f"    hint: {hint}", "yellow"))
            found.append(Line(f"    once corrected: {plain(self.resubmit(event))}", "cyan"))
        more = len(self.refused) - _FEW
        if more > 0:
            text = f"{counted(more, 'more refused file')} in {self.home.rejected}"
            found.append(Line(text, "dim"))
        return found

    def _faulty_gpus(self) -> list[Line]:
        return [
            Line(
                f"{plain(gpu.text)}."
                + (f" `{gpu.way_back}` uses it again." if gpu.set_aside else ""),
                "yellow",
            )
            for gpu in self.gpus
        ]

    def _queue(self) -> list[Line]:
        if self.paused is None:
            return []
        since = f" since {terminal.when(self.paused.since)}" if self.paused.since else ""
        by = f", by {plain(self.paused.by)}" if self.paused.by else ""
        return [Line(f"The queue is paused{since}{by}: `rekindle resume` resumes it.", "yellow")]

    def _daemon(self) -> list[Line]:
        if self.served:
            return []
        if self.starting is None:
            return [Line("No daemon is running: `rekindle run` starts one.", "yellow")]
        if self.full:
            return [
                Line(
                    f"The daemon (process {self.starting}) waits for space on the disk of the home:"
                    " `rekindle prune --yes` removes checkpoints that are not needed.",
                    "yellow",
                )
            ]
        return [Line(f"The daemon (process {self.starting}) is starting.", "yellow")]


def _refused(home: Home, book: Listing, now: float) -> list[EventRow]:
    """List the refusals of the last days whose files nobody has removed."""
    return [
        event
        for event in book.events(kind="spec_rejected", newest=_MOST_REFUSED)
        if now - event.at < _REFUSED_S and _exists(home, str(event.data.get("file")))
    ]


def _not_taken(book: Listing, waiting: list[str]) -> dict[str, str]:
    """Find the latest reason for each file in the inbox that the daemon does not take."""
    if not waiting:
        return {}
    names = {*waiting}
    events = book.events(kind="file_not_taken", newest=_MOST_REFUSED)
    reasons = {str(event.data.get("file")): str(event.data.get("reason")) for event in events}
    return {name: why for name, why in reasons.items() if name in names}


def _log_trouble(book: Listing, since: float) -> str:
    """Return why the log of the daemon that began at ``since`` cannot be written, else nothing."""
    events = [
        event
        for kind in ("log_not_written", "log_written_again")
        for event in book.events(kind=kind, newest=1)
        if event.at >= since
    ]
    newest = max(events, key=lambda event: event.id, default=None)
    if newest is None or newest.kind != "log_not_written":
        return ""
    return str(newest.data["message"])


def _exists(home: Home, name: str) -> bool:
    try:
        os.lstat(home.rejected / name)
    except (FileNotFoundError, ValueError):
        return False
    except OSError:
        pass  # this user may not look
    return True


def _and_more(names: list[Any]) -> str:
    return f" and {len(names) - _FEW} more" if len(names) > _FEW else ""


def _is_full(home: Home) -> bool:
    from rekindle.daemon.attempts import preflight

    return preflight.is_full(home.root)
