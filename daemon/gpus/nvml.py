"""Call NVIDIA's management library: the only code that does.

A call may not return while a GPU is off the bus, so that the daemon never makes one: see `probe`.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.gpus.faults import Facts
from rekindle.daemon.gpus.placement import Gpu

_LIBRARY: Final = "libnvidia-ml.so"


class DriverTrouble(Exception):
    """NVML fails or is missing; the text is NVML's own."""


class Nvml:
    """Call NVML, which is initialised once. Thread-safe, as NVML is.

    Raises:
        DriverTrouble: NVML is missing or fails.
    """

    def __init__(self) -> None:
        import pynvml

        self._nvml: Any = pynvml
        self._known: dict[int, tuple[str, str]] = {}
        self._uuids: dict[int | None, str] = {}
        self._events: Any = None
        self._lock = threading.Lock()
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise DriverTrouble(_text(error)) from error
        self._library = _mapped()
        try:
            self._events = pynvml.nvmlEventSetCreate()
        except pynvml.NVMLError:
            self._events = None  # faults are then found by readings only

    def count(self) -> int:
        """Return the number of GPUs.

        Raises:
            DriverTrouble: not even their number can be read.
        """
        try:
            return int(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as error:
            raise DriverTrouble(_text(error)) from error

    def read(self, index: int) -> list[Gpu]:
        """Read one GPU, or its MIG instances if it is partitioned.

        A GPU that cannot be read has the error in its facts, and no UUID if that is not known.
        """
        nvml, label = self._nvml, str(index)
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
            self._known[index] = uuid, name
            facts = self._facts(handle)
            self._watch(handle, uuid)
            parts = self._instances(handle)
            if parts is None:
                return [self._gpu(handle, uuid, label, name, facts)]
            return [
                self._gpu(part, nvml.nvmlDeviceGetUUID(part), f"{label}:{n}", name, facts, uuid)
                for n, part in parts
            ]
        except nvml.NVMLError as error:
            uuid, name = self._known.get(index, ("", ""))
            lost = error.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED)
            return [Gpu(uuid, label, name, facts=Facts(error=_text(error), lost=lost))]

    def use(self, index: int) -> tuple[int | None, int | None]:
        """Return how busy a GPU is, in percent, and its temperature; None where it does not say."""
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            rates = self._optional(nvml.nvmlDeviceGetUtilizationRates, handle)
            celsius = self._optional(
                nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU
            )
        except nvml.NVMLError:
            return None, None
        return None if rates is None else int(rates.gpu), celsius

    def uuid(self, index: int) -> str:
        """Return the UUID of a GPU that was read before, else an empty text."""
        return self._known.get(index, ("", ""))[0]

    def wait_for_xid(
        self, seconds: float, sleep: Callable[[float], object]
    ) -> tuple[str, int] | None:
        """Wait for the next XID, a pair of UUID and number; None after ``seconds``."""
        if self._events is None or not self._uuids:
            sleep(seconds)
            return None
        try:
            event = self._nvml.nvmlEventSetWait_v2(self._events, int(seconds * 1000))
        except self._nvml.NVMLError as error:
            if error.value != self._nvml.NVML_ERROR_TIMEOUT:
                sleep(seconds)  # a lost GPU is found by the next reading
            return None
        # not asked of the driver: a GPU off the bus no longer tells its UUID
        uuid = self._uuids.get(_address(event.device))
        if uuid is None or event.eventType != self._nvml.nvmlEventTypeXidCriticalError:
            return None
        return uuid, int(event.eventData)

    def library_replaced(self) -> bool:
        """Return whether the file of the loaded library is gone or another one.

        After an update of the driver new trainings load the new library; only a process that loads
        it too sees whether it fits the loaded kernel module.
        """
        if self._library is None:
            return False
        path, inode = self._library
        try:
            return os.stat(path).st_ino != inode
        except OSError:
            return True

    def about(self) -> dict[str, str]:
        """Return the versions of driver, NVML and CUDA that NVML reports."""
        found = {}
        for name, ask in (
            ("driver", self._nvml.nvmlSystemGetDriverVersion),
            ("NVML", self._nvml.nvmlSystemGetNVMLVersion),
        ):
            found[name] = str(self._optional(ask) or "unknown")
        cuda = self._optional(self._nvml.nvmlSystemGetCudaDriverVersion_v2)
        found["CUDA of the driver"] = f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "unknown"
        return found

    def settings(self, index: int) -> dict[str, str]:
        """Return what the driver reports of a GPU beside its health, for a report."""
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            capability = self._optional(nvml.nvmlDeviceGetCudaComputeCapability, handle)
            ecc = self._optional(nvml.nvmlDeviceGetEccMode, handle)
            mig = self._optional(nvml.nvmlDeviceGetMigMode, handle)
            persistence = self._optional(nvml.nvmlDeviceGetPersistenceMode, handle)
            rows = self._optional(nvml.nvmlDeviceGetRemappedRows, handle)
            celsius = self._optional(
                nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU
            )
        except nvml.NVMLError as error:
            return {"error": _text(error)}
        return {
            "compute capability": ".".join(map(str, capability)) if capability else "unknown",
            "ECC": _on_off(ecc[0] if ecc else None),
            "MIG": _on_off(mig[0] if mig else None),
            "persistence mode": _on_off(persistence),
            "remapped rows": f"{rows[0]} + {rows[1]}" if rows else "unknown",
            "temperature": "unknown" if celsius is None else f"{celsius} C",
        }

    def _gpu(
        self, handle: Any, uuid: str, label: str, name: str, facts: Facts, parent: str = ""
    ) -> Gpu:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return Gpu(uuid, label, name, int(memory.total), int(memory.free), parent, facts)

    def _facts(self, handle: Any) -> Facts:
        nvml = self._nvml
        uncorrected = self._optional(
            nvml.nvmlDeviceGetTotalEccErrors,
            handle,
            nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
            nvml.NVML_VOLATILE_ECC,
        )
        rows = self._optional(nvml.nvmlDeviceGetRemappedRows, handle) or (0, 0, 0, 0)
        pages = self._optional(nvml.nvmlDeviceGetRetiredPagesPendingStatus, handle)
        reasons = self._optional(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
        if reasons is None:  # drivers before 535
            reasons = self._optional(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
        return Facts(
            uncorrected=uncorrected,
            rows_pending=bool(rows[2]),
            rows_failed=bool(rows[3]),
            pages_pending=bool(pages),
            recovery=self._recovery(handle),
            slowdown=int(reasons or 0),
        )

    def _recovery(self, handle: Any) -> int | None:
        nvml = self._nvml
        fields = self._optional(
            nvml.nvmlDeviceGetFieldValues, handle, [nvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION]
        )
        if not fields or fields[0].nvmlReturn != nvml.NVML_SUCCESS:
            return None
        return int(fields[0].value.uiVal)

    def _watch(self, handle: Any, uuid: str) -> None:
        """Subscribe to the events of a GPU, once."""
        address = _address(handle)
        with self._lock:
            if self._events is None or address in self._uuids:
                return
            try:
                self._nvml.nvmlDeviceRegisterEvents(
                    handle, self._nvml.nvmlEventTypeXidCriticalError, self._events
                )
            except self._nvml.NVMLError:
                return  # not every GPU supports events
            self._uuids[address] = uuid

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


def _text(error: Exception) -> str:
    return f"NVML: {str(error).rstrip('.')}"


def _address(handle: Any) -> int | None:
    """Return the address that a handle points to, which identifies a GPU."""
    return ctypes.cast(handle, ctypes.c_void_p).value


def _mapped() -> tuple[str, int] | None:
    """Find the file of the loaded library and its inode."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and _LIBRARY in fields[5]:
            return fields[5].removesuffix(" (deleted)"), int(fields[4])
    return None


def _on_off(value: int | None) -> str:
    return "unknown" if value is None else "on" if value else "off"
