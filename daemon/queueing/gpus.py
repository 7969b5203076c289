"""Query the GPUs of this host through NVML: the only code that calls the driver.

All queries run in a separate thread: a driver whose GPU has fallen off the bus may not respond
for minutes, which must not block the daemon. A host without a driver has no GPUs; that is no
error.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from rekindle.daemon.queueing.placement import APPLICATION_XIDS, Gpu, visible

LOOK_S: Final = 1.0
RETRY_S: Final = 5.0
STALE_S: Final = 30.0
_PCI: Final = Path("/sys/bus/pci/devices")
_NVIDIA: Final = "0x10de"
_DISPLAY_CLASS: Final = "0x03"


@dataclass(frozen=True, slots=True)
class Seen:
    """Hold one reading of all GPUs.

    Attributes:
        at: monotonic time of the reading, seconds.
        count: how many GPUs the host has, including those that the driver does not show.
        trouble: why the driver could not be queried; empty if it could.
    """

    at: float
    gpus: tuple[Gpu, ...] = ()
    count: int = 0
    trouble: str = ""


class DriverTrouble(Exception):
    """NVML fails or is missing; the text is NVML's own."""


class Monitor:
    """Read the state of the GPUs once a second.

    Args:
        allowed: ``CUDA_VISIBLE_DEVICES`` of the daemon, None for all GPUs.
    """

    def __init__(self, allowed: str | None) -> None:
        self._allowed = allowed
        self._seen: Seen | None = None
        self._xids: list[tuple[str, int]] = []
        self._most = 0
        self._first = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Start the thread; wait a few seconds for the first reading."""
        if self._allowed is not None and self._allowed.strip() in ("", "-1"):
            self._publish(Seen(time.monotonic()))
            return
        threading.Thread(target=self._run, name="gpus", daemon=True).start()
        self._first.wait(5.0)

    def stop(self) -> None:
        self._ended.set()

    @property
    def looked(self) -> bool:
        """Return whether the first reading is complete."""
        return self._first.is_set()

    def seen(self) -> Seen:
        """Return the latest reading; one that is too old reports trouble and shows no GPUs."""
        with self._lock:
            seen = self._seen
        now = time.monotonic()
        if seen is None:
            return Seen(now, count=_on_the_bus(), trouble="The NVIDIA driver has not responded yet")
        if seen.count and now - seen.at > STALE_S:
            return Seen(
                now,
                count=seen.count,
                trouble=f"The NVIDIA driver has not responded for {STALE_S:.0f} s",
            )
        return seen

    def take_xids(self) -> list[tuple[str, int]]:
        """Take the fatal errors since the last call, as pairs of UUID and XID."""
        with self._lock:
            taken, self._xids = self._xids, []
        return taken

    def _run(self) -> None:
        nvml: Nvml | None = None
        while not self._ended.is_set():
            try:
                nvml = nvml or Nvml()
                gpus = visible(nvml.look(), self._allowed)
                self._publish(Seen(time.monotonic(), gpus, self._count(len(gpus))))
                self._note(nvml.wait_for_xid(LOOK_S, self._ended.wait))
            except DriverTrouble as error:
                count = self._count(0)
                self._publish(Seen(time.monotonic(), count=count, trouble=str(error)))
                if not count:
                    return  # a host without GPUs
                nvml = None
                self._ended.wait(RETRY_S)

    def _count(self, shown: int) -> int:
        """Count the GPUs: the most that the driver ever showed, or that are on the bus."""
        bus = _on_the_bus()
        if self._allowed is not None:
            bus = min(bus, self._allowed.count(",") + 1)
        self._most = max(self._most, shown, bus)
        return self._most

    def _publish(self, seen: Seen) -> None:
        with self._lock:
            before, self._seen = self._seen, seen
        if before is None or before.trouble != seen.trouble:
            if seen.trouble and seen.count:
                self._log.error("driver_trouble", message=seen.trouble, gpus=seen.count)
            elif seen.gpus:
                self._log.info(
                    "gpus_seen", gpus=[f"{g.label} {g.name} {g.uuid}" for g in seen.gpus]
                )
        self._first.set()

    def _note(self, event: tuple[str, int] | None) -> None:
        if event is not None and event[1] not in APPLICATION_XIDS:
            with self._lock:
                self._xids.append(event)


class Nvml:
    """Call NVML, which is initialised once.

    Raises:
        DriverTrouble: NVML is missing or fails.
    """

    def __init__(self) -> None:
        import pynvml

        self._nvml: Any = pynvml
        self._known: dict[str, tuple[str, str]] = {}
        self._events: Any = None
        self._watched: set[str] = set()
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise DriverTrouble(f"NVML: {error}") from error
        try:
            self._events = pynvml.nvmlEventSetCreate()
        except pynvml.NVMLError:
            self._events = None  # faults are then found by the next reading only

    def look(self) -> list[Gpu]:
        """Read all GPUs, or the MIG instances of a GPU that is partitioned.

        Raises:
            DriverTrouble: not even their number can be read.
        """
        try:
            count = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as error:
            raise DriverTrouble(f"NVML: {error}") from error
        return [gpu for index in range(count) for gpu in self._look_at(index)]

    def wait_for_xid(
        self, seconds: float, sleep: Callable[[float], object]
    ) -> tuple[str, int] | None:
        """Wait for the next XID, a pair of UUID and number; None after ``seconds``."""
        if self._events is None or not self._watched:
            sleep(seconds)
            return None
        try:
            event = self._nvml.nvmlEventSetWait_v2(self._events, int(seconds * 1000))
            return self._nvml.nvmlDeviceGetUUID(event.device), int(event.eventData)
        except self._nvml.NVMLError as error:
            if error.value != self._nvml.NVML_ERROR_TIMEOUT:
                sleep(seconds)  # a lost GPU is found by the next reading
            return None

    def _look_at(self, index: int) -> list[Gpu]:
        label = str(index)
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            uuid, name = self._nvml.nvmlDeviceGetUUID(handle), self._nvml.nvmlDeviceGetName(handle)
            self._known[label] = uuid, name
            faults = self._faults(handle)
            self._watch(handle, uuid)
            parts = self._instances(handle)
            if parts is not None:
                return [
                    self._gpu(
                        part,
                        self._nvml.nvmlDeviceGetUUID(part),
                        f"{index}:{n}",
                        name,
                        faults,
                        parent=uuid,
                    )
                    for n, part in parts
                ]
            return [self._gpu(handle, uuid, label, name, faults)]
        except self._nvml.NVMLError as error:
            uuid, name = self._known.get(label, (f"GPU-of-index-{index}", ""))
            return [Gpu(uuid, label, name, faults=(f"NVML: {error}",))]

    def _gpu(
        self,
        handle: Any,
        uuid: str,
        label: str,
        name: str,
        faults: tuple[str, ...],
        parent: str = "",
    ) -> Gpu:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return Gpu(uuid, label, name, int(memory.total), int(memory.free), faults, parent)

    def _faults(self, handle: Any) -> tuple[str, ...]:
        nvml = self._nvml
        found = []
        errors = self._optional(
            nvml.nvmlDeviceGetTotalEccErrors,
            handle,
            nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
            nvml.NVML_VOLATILE_ECC,
        )
        if errors:
            found.append(f"{errors} uncorrected memory error{'s' * (errors != 1)}")
        rows = self._optional(nvml.nvmlDeviceGetRemappedRows, handle)
        if rows and rows[3]:
            found.append("a row of its memory could not be replaced")
        elif rows and rows[2]:
            found.append("a row of its memory is replaced at its next reset")
        return tuple(found)

    def _watch(self, handle: Any, uuid: str) -> None:
        if self._events is None or uuid in self._watched:
            return
        try:
            self._nvml.nvmlDeviceRegisterEvents(
                handle, self._nvml.nvmlEventTypeXidCriticalError, self._events
            )
            self._watched.add(uuid)
        except self._nvml.NVMLError:
            return  # not every GPU supports events

    def _instances(self, handle: Any) -> list[tuple[int, Any]] | None:
        """List the MIG instances of a GPU that is partitioned, else None."""
        mode = self._optional(self._nvml.nvmlDeviceGetMigMode, handle)
        if not mode or not mode[0]:
            return None
        most = self._optional(self._nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
        parts = [
            (n, self._optional(self._nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, n))
            for n in range(most)
        ]
        return [(n, part) for n, part in parts if part is not None]

    def _optional(self, ask: Callable[..., Any], *args: Any) -> Any:
        """Query what not every GPU supports; a lost GPU is an error here as elsewhere."""
        try:
            return ask(*args)
        except self._nvml.NVMLError as error:
            if error.value in (
                self._nvml.NVML_ERROR_GPU_IS_LOST,
                self._nvml.NVML_ERROR_RESET_REQUIRED,
            ):
                raise
            return None


def _on_the_bus() -> int:
    """Count the NVIDIA display devices on the PCI bus, whatever the driver says."""
    count = 0
    try:
        for device in os.scandir(_PCI):
            folder = Path(device.path)
            count += (folder / "vendor").read_text().startswith(_NVIDIA) and (
                folder / "class"
            ).read_text().startswith(_DISPLAY_CLASS)
    except OSError:
        return count
    return count
