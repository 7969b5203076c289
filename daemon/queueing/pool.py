"""Manage the pool of GPUs: those that the monitor sees, attempts hold or a person accepted."""

import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

import structlog

from rekindle.daemon.queueing import placement
from rekindle.daemon.queueing.gpus import Monitor
from rekindle.daemon.queueing.placement import Gpu, Stock
from rekindle.daemon.queueing.queue_file import QueueFile
from rekindle.state.ledger.ledger import Ledger

_SETTLE_S: Final = 30.0


class Pool:
    """Manage the GPUs of one host.

    Args:
        free_share: the part of a GPU's memory that must be free before it is allocated.

    Attributes:
        stock: the GPUs that can be allocated, as of the latest `refresh`.
        count: how many GPUs the host has, including unavailable ones.
        trouble: why the driver cannot be queried; empty if it can.
    """

    def __init__(
        self, ledger: Ledger, monitor: Monitor, file: QueueFile, *, free_share: float
    ) -> None:
        self._ledger = ledger
        self._file = file
        self._monitor = monitor
        self._free_share = free_share
        self._gpus: tuple[Gpu, ...] = ()
        self._given_back: dict[str, float] = {}
        self._faults: dict[str, tuple[str, ...]] = {}
        self._log = structlog.get_logger()
        self.stock = Stock()
        self.count = 0
        self.trouble = ""

    def refresh(self, held: Collection[str]) -> bool:
        """Update the stock from the latest reading; True if the number of GPUs has changed.

        Args:
            held: UUIDs of the GPUs of attempts.
        """
        seen = self._monitor.seen()
        for uuid, xid in self._monitor.take_xids():
            self._note(uuid, f"XID {xid} at {time.strftime('%Y-%m-%d %H:%M:%S')}")
        decided = self._file.now
        self._gpus = placement.with_faults(seen.gpus, decided.noted, decided.accepted)
        self._report_faults()
        now = time.monotonic()
        self._given_back = {
            uuid: at for uuid, at in self._given_back.items() if now - at < _SETTLE_S
        }
        # a reading from before the end of an attempt does not show the memory it left in use
        stale = {uuid for uuid, at in self._given_back.items() if seen.at <= at}
        stock = placement.take_stock(
            self._gpus, held={*held, *stale}, settling=self._given_back, free_share=self._free_share
        )
        if len(seen.gpus) < seen.count and not seen.trouble:
            missing = f"the driver shows {len(seen.gpus)} of {seen.count} GPUs"
            stock = replace(stock, unavailable=(*stock.unavailable, missing))
        self.stock = stock
        # a host without GPUs has no driver either, which is no fault
        trouble = seen.trouble if seen.count else ""
        changed = (seen.count, bool(trouble)) != (self.count, bool(self.trouble))
        self.count, self.trouble = seen.count, trouble
        return changed

    @property
    def may_come_back(self) -> bool:
        """Return whether unavailable GPUs may become available without a person."""
        return bool(self.trouble) or any("in use" in text for text in self.stock.unavailable)

    @property
    def known(self) -> bool:
        """Return whether the GPUs have been read once, so that missing ones are known."""
        return self._monitor.looked

    def gpus_for(self, wanted: int | None) -> int:
        """Return the number of GPUs for a job: as its spec says, else one if there are any."""
        return int(self.count > 0) if wanted is None else wanted

    def give_back(self, uuids: Iterable[str]) -> None:
        """Release GPUs of an ended attempt; their memory is checked before they are allocated."""
        self._given_back.update(dict.fromkeys(uuids, time.monotonic()))

    def find(self, named: str) -> Gpu | None:
        """Find the GPU with this label, UUID or prefix of a UUID."""
        found = placement.visible(self._gpus, named)
        return found[0] if len(found) == 1 else None

    def accept(self, gpu: Gpu) -> None:
        """Use a GPU again despite its current faults."""
        known = self._file.now.accepted
        self._file.decide(
            accepted={**known, gpu.uuid: sorted({*known.get(gpu.uuid, []), *gpu.faults})}
        )

    def _note(self, uuid: str, fault: str) -> None:
        noted = self._file.now.noted
        self._file.decide(noted={**noted, uuid: [*noted.get(uuid, []), fault]})

    def _report_faults(self) -> None:
        now = {gpu.uuid: gpu.faults for gpu in self._gpus if gpu.faults}
        for uuid, faults in now.items():
            if self._faults.get(uuid) != faults:
                self._ledger.add_event("gpu_set_aside", data={"gpu": uuid, "faults": [*faults]})
                self._log.error("gpu_set_aside", gpu=uuid, faults=[*faults])
        for uuid in self._faults.keys() - now.keys():
            self._ledger.add_event("gpu_sound", data={"gpu": uuid})
            self._log.info("gpu_sound", gpu=uuid)
        self._faults = now
