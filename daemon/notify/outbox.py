"""Keep what is to be sent on disk: a restart of the daemon loses and repeats nothing."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

from rekindle.daemon.notify.notices import Notice
from rekindle.state import durable

FORMAT: Final = 1
MOST_PENDING: Final = 500
MOST_MESSAGES: Final = 20
GIVE_UP_S: Final = 86_400.0
_HOUR_S: Final = 3600.0
_HYSTERESIS: Final = 1.2
_WAIT: Final = wait_exponential(multiplier=15, max=1800) + wait_random(0, 15)


@dataclass(slots=True)
class Message:
    """Hold a message until each of its targets has it.

    Attributes:
        value: title, text and notices, as a command gets them.
        targets: ids of those that do not have it yet.
        made_at, next_at: unix times.
        error: of the last try, masked.
    """

    value: dict[str, Any]
    targets: list[str]
    made_at: float
    next_at: float
    tries: int = 0
    error: str = ""

    def note(self, failed: dict[str, str], now: float) -> bool:
        """Note what became of a try; return whether there is another one."""
        self.targets = [one for one in self.targets if one in failed]
        self.tries += 1
        self.error = "; ".join(sorted(set(failed.values())))
        self.next_at = now + wait_s(self.tries)
        return bool(self.targets) and now - self.made_at < GIVE_UP_S


@dataclass(slots=True)
class Outbox:
    """Hold notices that wait for their batch, messages that wait for delivery, and the cursor.

    Attributes:
        cursor: id of the last event that was looked at.
        opened: unix time of the first notice that waits; None without one.
        left_out: notices beyond those that are kept.
        sent: unix times of the messages of the last hour.
        interrupted: count of interruptions at the last notice about each job.
        pinged: the local date of the last dead-man ping.
    """

    cursor: int
    pending: list[Notice] = field(default_factory=list)
    opened: float | None = None
    left_out: int = 0
    messages: list[Message] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    interrupted: dict[str, int] = field(default_factory=dict)
    disk_low: bool = False
    pinged: str = ""
    ping_tries: int = 0
    ping_at: float = 0.0

    @classmethod
    def read(cls, path: Path, last_event: int) -> Self:
        """Read the file; a missing or damaged one begins at the newest event: no flood."""
        try:
            value = json.loads(path.read_text())
            if value.pop("format") != FORMAT:
                return cls(last_event)
            value["pending"] = [Notice.from_json(one) for one in value["pending"]]
            value["messages"] = [Message(**one) for one in value["messages"]]
            found = cls(**value)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(last_event)
        # a rebuilt ledger counts its events from one again
        found.look_up_to(min(int(found.cursor), last_event))
        return found

    def write(self, path: Path) -> None:
        """Write it; nobody but the daemon's user reads it.

        Raises:
            OSError: the disk is full.
        """
        durable.write_json(path, {"format": FORMAT, **asdict(self)}, 0o600)

    def add(self, notice: Notice, now: float) -> None:
        """Let a notice wait for its batch; of one thing only the newest stays."""
        same = (notice.kind, notice.about)
        self.pending = [one for one in self.pending if (one.kind, one.about) != same]
        if len(self.pending) >= MOST_PENDING:
            self.left_out += 1
            return
        self.pending.append(notice)
        self.opened = now if self.opened is None else self.opened

    def is_batch_due(self, now: float, *, batch: float, most: int) -> bool:
        """Return whether a message may be made of what waits.

        Args:
            batch: seconds for which notices are collected.
            most: messages in an hour.
        """
        self.sent = [at for at in self.sent if 0 <= now - at < _HOUR_S]
        return (
            self.opened is not None
            and not 0 <= now - self.opened < batch
            and len(self.sent) < most
            and len(self.messages) < MOST_MESSAGES
        )

    def close_batch(self, value: dict[str, Any] | None, targets: list[str], now: float) -> None:
        """Turn what waits into a message; None: nothing of it is true any more."""
        self.pending, self.opened, self.left_out = [], None, 0
        if value is not None and targets:
            self.messages.append(Message(value, targets, now, now))
            self.sent.append(now)

    def due(self, now: float) -> Message | None:
        """Return the first message that may be tried now."""
        return next((one for one in self.messages if one.next_at <= now), None)

    def settle(self, message: Message, failed: dict[str, str], now: float) -> bool:
        """Note what became of a try; return False if it is given up."""
        if message.note(failed, now):
            return True
        self.messages = [one for one in self.messages if one is not message]
        return not message.targets

    def look_up_to(self, event: int) -> None:
        """Note the last event that was looked at."""
        self.cursor = event

    def note_disk(self, share: float, limit: float) -> bool:
        """Note the free share of the disk; return True once when it falls below the limit.

        It has to rise clearly above the limit before it can fall again.
        """
        was = self.disk_low
        self.disk_low = share < (limit * _HYSTERESIS if was else limit)
        return self.disk_low and not was

    def note_ping(self, now: float, day: str) -> None:
        """Note what became of a dead-man ping; an empty ``day`` means that it failed."""
        if day:
            self.pinged, self.ping_tries, self.ping_at = day, 0, 0.0
        else:
            self.ping_tries += 1
            self.ping_at = now + wait_s(self.ping_tries)


def wait_s(tries: int) -> float:
    """Return the seconds to wait after so many failed tries."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = tries
    return float(_WAIT(state))
