"""Store a person's decisions about the whole queue in ``queue.json``.

They are in a file and not in the ledger, since they must survive a rebuild of the ledger: a
paused queue must not start to run by itself.
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
    """Hold the decisions.

    Attributes:
        paused: no job is started.
        free: running jobs are also asked to save and end.
        since: unix time of the pause, seconds.
        by: the name of the user who paused it; empty if unknown.
        noted: faults of GPUs that only an event reported, by UUID; valid until ``boot_id``
            changes, since a reboot resets a GPU.
        accepted: faults, by UUID, despite which a person uses a GPU again.
        known: label and model of each GPU that the driver has shown, by UUID.
        faulty: the GPUs that have faults: for verbs, which ask no driver.
        boot_id: the boot that ``noted`` and ``accepted`` belong to.
    """

    paused: bool = False
    free: bool = False
    since: float | None = None
    by: str = ""
    noted: dict[str, list[str]] = field(default_factory=dict)
    accepted: dict[str, list[str]] = field(default_factory=dict)
    known: dict[str, list[str]] = field(default_factory=dict)
    faulty: list[dict[str, Any]] = field(default_factory=list)
    boot_id: str = ""


@dataclass(frozen=True, slots=True)
class FaultyGpu:
    """Describe a GPU with faults.

    Attributes:
        label: its index as nvidia-smi shows it.
        set_aside: no attempt gets it; otherwise it is used if no other is free.
    """

    uuid: str
    label: str
    model: str
    set_aside: bool
    faults: tuple[str, ...]

    @property
    def text(self) -> str:
        """Say what is wrong with it."""
        state = "set aside" if self.set_aside else "used last"
        return f"GPU {self.label} ({self.model}) is {state}: {'; '.join(self.faults)}"

    @property
    def way_back(self) -> str:
        """The command that uses it again."""
        return f"rekindle resume --gpu {self.uuid}"


def faulty_gpus(home: Home) -> list[FaultyGpu]:
    """List the GPUs with faults that the daemon of a home has recorded; none if unreadable."""
    try:
        return [
            FaultyGpu(
                str(one["uuid"]),
                str(one["label"]),
                str(one["model"]),
                bool(one["set_aside"]),
                tuple(map(str, one["faults"])),
            )
            for one in read(home).faulty
        ]
    except (HomeUnusable, KeyError, TypeError):
        return []


def read(home: Home) -> Decisions:
    """Read the decisions of a home; the defaults if there is no file.

    Raises:
        HomeUnusable: the file exists and cannot be read.
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
            f"The decisions about the queue cannot be read: {error}.",
            where=home.queue,
            hint="Remove the file; then the queue is not paused, and all GPUs are used.",
        ) from error


class QueueFile:
    """Read and write the file of one home; the daemon is its only writer.

    Attributes:
        now: the current decisions.

    Raises:
        HomeUnusable: the file exists and cannot be read.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self.now = read(home)
        boot_id = process.boot_id()
        if self.now.boot_id != boot_id:
            # a reboot resets the GPUs
            self.now = replace(self.now, noted={}, accepted={}, boot_id=boot_id)

    def decide(self, **changes: Any) -> None:
        """Write decisions to disk before they take effect.

        Raises:
            OSError: the file cannot be written; nothing has changed.
        """
        new = replace(self.now, **changes)
        value = {name: getattr(new, name) for name in Decisions.__dataclass_fields__}
        durable.write_json(self._home.queue, {"format": FORMAT, **value})
        self.now = new
