"""Keep in ``queue.json`` what a person decided about the whole queue.

A file of its own and no table of the ledger, since it must outlive a ledger that is
rebuilt: a queue that was paused must not begin to run by itself.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any, Final

from rekindle.jobs import process
from rekindle.state import durable
from rekindle.state.errors import HomeUnusable
from rekindle.state.paths import Home

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Decisions:
    """State what is decided.

    Attributes:
        paused: nothing new is started.
        free: and what runs is asked to save and end.
        since: unix time of the pause, seconds.
        noted: faults of GPUs that only an event reported, by UUID; they hold until ``boot_id``
            changes, for a reboot resets a GPU.
        accepted: faults, by UUID, with which a person took a GPU back.
        boot_id: the boot that ``noted`` and ``accepted`` belong to.
    """

    paused: bool = False
    free: bool = False
    since: float | None = None
    noted: dict[str, list[str]] = field(default_factory=dict)
    accepted: dict[str, list[str]] = field(default_factory=dict)
    boot_id: str = ""


def read(home: Home) -> Decisions:
    """Read the decisions of a home.

    Raises:
        HomeUnusable: it is there and cannot be read.
    """
    try:
        value = json.loads(home.queue.read_bytes())
        if value["format"] > FORMAT:
            raise ValueError(f"format {value['format']}")
        known: dict[str, Any] = {k: value[k] for k in Decisions.__dataclass_fields__ if k in value}
        return Decisions(**known)
    except FileNotFoundError:
        return Decisions()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HomeUnusable(
            f"What was decided about the queue cannot be read: {error}.",
            where=home.queue,
            hint="Remove the file; then the queue is not paused, and all GPUs are in use.",
        ) from error


class QueueFile:
    """Keep the file of one home, for the daemon, which is its only writer.

    Attributes:
        now: what is decided.

    Raises:
        HomeUnusable: it is there and cannot be read.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self.now = read(home)
        boot_id = process.boot_id()
        if self.now.boot_id != boot_id:
            # a reboot resets the GPUs
            self.now = replace(self.now, noted={}, accepted={}, boot_id=boot_id)

    def decide(self, **changes: Any) -> None:
        """Write some decisions down, durably, before they hold.

        Raises:
            OSError: it cannot be written; nothing is changed then.
        """
        new = replace(self.now, **changes)
        value = {name: getattr(new, name) for name in Decisions.__dataclass_fields__}
        durable.write_json(self._home.queue, {"format": FORMAT, **value})
        self.now = new
