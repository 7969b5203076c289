"""Manage the pool of GPUs: those that the monitor sees, attempts hold or a person accepted."""

import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

import structlog

from rekindle.daemon.gpus import placement
from rekindle.daemon.gpus.faults import Severity
from rekindle.daemon.gpus.health import SLOW_S, Health
from rekindle.daemon.gpus.monitor import Monitor
from rekindle.daemon.gpus.placement import Gpu, Stock
from rekindle.daemon.queue_file import QueueFile
from rekindle.state.ledger.ledger import Ledger

_SETTLE_S: Final = 30.0


class Pool:
    """Manage the GPUs of one host.

    Args:
        free_share: the part of a GPU's memory that must be free before it is allocated.
        slow_after: seconds of reduced clocks after which a GPU is set aside.

    Attributes:
        stock: the GPUs that can be allocated, as of the latest `refresh`.
        count: how many GPUs the host has, including unavailable ones.
        trouble: why the driver cannot be queried; empty if it can.
    """

    def __init__(
        self,
        ledger: Ledger,
        monitor: Monitor,
        file: QueueFile,
        *,
        free_share: float,
        slow_after: float = SLOW_S,
    ) -> None:
        self._ledger = ledger
        self._monitor = monitor
        self._health = Health(ledger, file, silent_after=monitor.silent, slow_after=slow_after)
        self._free_share = free_share
        self._gpus: tuple[Gpu, ...] = ()
        self._names: dict[str, str] = {}
        self._given_back: dict[str, float] = {}
        self._log = structlog.get_logger()
        self.stock = Stock()
        self.count = 0
        self.trouble = ""

    def refresh(self, held: Collection[str]) -> bool:
        """Update the stock from the latest reading; True if the number of GPUs has changed.

        Args:
            held: UUIDs of the GPUs of attempts.
        """
        seen, now = self._monitor.seen(), time.monotonic()
        self._gpus = self._health.judge(seen, self._monitor.take_xids(), now)
        self._names.update((gpu.uuid, gpu.name) for gpu in self._gpus)
        self._given_back = {
            uuid: at for uuid, at in self._given_back.items() if now - at < _SETTLE_S
        }
        # a reading from before the end of an attempt does not show the memory it left in use
        stale = {
            gpu.uuid
            for gpu in self._gpus
            if gpu.uuid in self._given_back
            and seen.at - gpu.facts.silent <= self._given_back[gpu.uuid]
        }
        stock = placement.take_stock(
            self._gpus, held={*held, *stale}, settling=self._given_back, free_share=self._free_share
        )
        if len(self._gpus) < seen.count and not seen.trouble:
            missing = f"the driver shows {len(seen.gpus)} of {seen.count} GPUs"
            stock = replace(stock, unavailable=(*stock.unavailable, missing))
        self.stock = stock
        count = max(seen.count, self._health.known()) if seen.wanted else 0
        # a host without GPUs has no driver either, which is no fault
        trouble = seen.trouble if count else ""
        self._report_driver(trouble)
        changed = (count, bool(trouble)) != (self.count, bool(self.trouble))
        self.count, self.trouble = count, trouble
        return changed

    @property
    def may_come_back(self) -> bool:
        """Return whether unavailable GPUs may become available without a person."""
        return bool(self.trouble) or self.stock.may_return

    @property
    def known(self) -> bool:
        """Return whether the GPUs have been read once, so that missing ones are known."""
        return self._monitor.looked

    def gpus_for(self, wanted: int | None) -> int:
        """Return the number of GPUs for a job: as its spec says, else one if there are any."""
        return int(self.count > 0) if wanted is None else wanted

    def choose(self, count: int, before: Collection[str]) -> tuple[str, ...]:
        """Choose GPUs for an attempt; ``before`` are those of the job's last one."""
        return placement.prefer(self.stock.allocatable, count, before, self._names)

    def failed(self, uuids: Collection[str]) -> list[Gpu]:
        """Return those of the GPUs that can no longer carry a training."""
        return [gpu for gpu in self._gpus if gpu.uuid in uuids and gpu.severity == Severity.FATAL]

    def give_back(self, uuids: Iterable[str]) -> None:
        """Release GPUs of an ended attempt; their memory is checked before they are allocated."""
        self._given_back.update(dict.fromkeys(uuids, time.monotonic()))

    def find(self, named: str) -> Gpu | None:
        """Find the GPU with this label, UUID or prefix of a UUID."""
        found = placement.visible(self._gpus, named)
        return found[0] if len(found) == 1 else None

    def accept(self, gpu: Gpu) -> None:
        """Use a GPU again despite its current faults."""
        self._health.accept(gpu)

    def _report_driver(self, trouble: str) -> None:
        if trouble == self.trouble:
            return
        if trouble:
            self._ledger.add_event("driver_trouble", data={"message": trouble})
            self._log.error("driver_trouble", message=trouble)
        else:
            self._ledger.add_event("driver_answers")
            self._log.info("driver_answers")
