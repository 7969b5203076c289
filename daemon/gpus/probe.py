"""Read the GPUs in a process of its own, and print each reading as a line of JSON.

A call to the driver may never return, may crash the process, and goes to the library that was
loaded first, also after an update of the driver. The daemon survives all three, since it reads
lines: it discards a probe that is silent, and starts another. Each GPU is read in a thread, so that
one that does not answer hides no other. The probe ends with the daemon, when its input closes.
"""

import dataclasses
import json
import os
import select
import sys
import threading
import time
from typing import Any, Final

from rekindle.daemon.gpus.nvml import DriverTrouble, Nvml
from rekindle.daemon.gpus.placement import Gpu

LOOK_S: Final = 1.0
_FIRST_S: Final = 3.0
_RENEW_S: Final = 300.0
"""Time after which a probe with an unreadable GPU ends: the next one sees if it was reset."""


class Cards:
    """Hold the latest reading of each GPU, made by a thread per GPU."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._lock = threading.Lock()
        self._latest: dict[int, tuple[float, list[Gpu]]] = {}
        self._began: dict[int, float] = {}

    def follow(self, count: int) -> bool:
        """Start a thread for each GPU that has none; False if there are fewer GPUs than before.

        Their numbers then mean other GPUs, and a new probe has to read them.
        """
        if count < len(self._began):
            return False
        for index in range(count):
            if index not in self._began:
                self._began[index] = time.monotonic()
                threading.Thread(target=self._read, args=(index,), daemon=True).start()
        return True

    def complete(self) -> bool:
        """Return whether each GPU was read once."""
        with self._lock:
            return len(self._latest) == len(self._began)

    def readings(self, now: float) -> list[dict[str, Any]]:
        """Return one record for each GPU, with the seconds since its latest reading began."""
        with self._lock:
            latest = dict(self._latest)
        found = []
        for index, began in self._began.items():
            at, gpus = latest.get(index, (began, [Gpu(self._nvml.uuid(index), str(index))]))
            silent = now - at
            found.append(
                {
                    "card": self._nvml.uuid(index),
                    "silent": round(silent, 3),
                    "gpus": [dataclasses.asdict(gpu) for gpu in gpus],
                }
            )
        return found

    def unreadable(self) -> bool:
        """Return whether a GPU cannot be read."""
        with self._lock:
            return any(gpu.facts.error for _, gpus in self._latest.values() for gpu in gpus)

    def _read(self, index: int) -> None:
        while True:
            began = time.monotonic()
            gpus = self._nvml.read(index)
            with self._lock:
                self._latest[index] = began, gpus
            time.sleep(LOOK_S)


def main() -> int:
    """Print readings until the input closes; one with ``trouble`` is the last.

    With the argument ``once`` print one reading with the settings of each GPU.
    """
    lock = threading.Lock()

    def say(record: dict[str, Any]) -> None:
        with lock:
            print(json.dumps(record), flush=True)

    try:
        if sys.argv[1:] == ["once"]:
            _describe(Nvml(), say)
        else:
            _run(Nvml(), say)
    except DriverTrouble as error:
        say({"trouble": str(error)})
    except BrokenPipeError:
        pass  # the daemon has ended
    # not by a normal exit: a thread in the driver may never end
    os._exit(0)


def _run(nvml: Nvml, say: Any) -> None:
    cards, began = Cards(nvml), time.monotonic()
    cards.follow(nvml.count())
    while not cards.complete() and time.monotonic() - began < _FIRST_S:
        time.sleep(0.01)
    threading.Thread(target=_events, args=(nvml, say), daemon=True).start()
    while True:
        if not cards.follow(nvml.count()):
            return
        now = time.monotonic()
        say({"at": now, "cards": cards.readings(now)})
        if nvml.library_replaced():
            say({"trouble": "The library of the NVIDIA driver was replaced"})
            return
        if cards.unreadable() and time.monotonic() - began > _RENEW_S:
            return
        if select.select([0], [], [], LOOK_S)[0] and not os.read(0, 1):
            return


def _describe(nvml: Nvml, say: Any) -> None:
    cards = []
    for index in range(nvml.count()):
        gpus = [dataclasses.asdict(gpu) for gpu in nvml.read(index)]
        cards.append({"gpus": gpus, "settings": nvml.settings(index)})
    say({"about": nvml.about(), "cards": cards})


def _events(nvml: Nvml, say: Any) -> None:
    while True:
        xid = nvml.wait_for_xid(LOOK_S, time.sleep)
        if xid is not None:
            try:
                say({"xid": xid})
            except BrokenPipeError:
                return
