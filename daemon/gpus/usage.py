"""Follow how busy the GPUs are, for a person who watches: in a thread, since a driver may hang."""

import threading
import time
from dataclasses import dataclass
from typing import Final

from rekindle.daemon.gpus.nvml import DriverTrouble, Nvml
from rekindle.daemon.gpus.placement import Gpu

_EVERY_S: Final = 1.0
SILENT_S: Final = 5.0
"""A reading that is older is not shown as one of now."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Describe the use of a GPU.

    Attributes:
        percent: of the last time in which it computed; None where the driver does not say.
        celsius: its temperature, else None.
    """

    gpu: Gpu
    percent: int | None
    celsius: int | None


@dataclass(frozen=True, slots=True)
class Reading:
    """Hold the latest reading; ``trouble`` says why there is none, ``at`` is monotonic."""

    usages: tuple[Usage, ...] = ()
    trouble: str = ""
    at: float = 0.0


class Watch:
    """Read the GPUs every second while somebody looks."""

    def __init__(self) -> None:
        self._latest = Reading(trouble="not read yet")
        threading.Thread(target=self._run, daemon=True).start()

    def latest(self) -> Reading:
        """Return the latest reading; one that is too old has become trouble."""
        found = self._latest
        if found.at and time.monotonic() - found.at > SILENT_S:
            return Reading(trouble=f"no answer for {time.monotonic() - found.at:.0f} s")
        return found

    def _run(self) -> None:
        try:
            nvml = Nvml()
            while True:
                usages = tuple(
                    Usage(gpu, *nvml.use(index))
                    for index in range(nvml.count())
                    for gpu in nvml.read(index)
                )
                self._latest = Reading(usages, at=time.monotonic())
                time.sleep(_EVERY_S)
        except DriverTrouble as error:
            self._latest = Reading(trouble=str(error))
