"""Follow the GPUs of this host through a probe process; the daemon itself calls no driver.

A host without a driver has no GPUs; that is no error.
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import structlog

from rekindle.daemon.gpus.faults import Facts
from rekindle.daemon.gpus.placement import Gpu, visible
from rekindle.jobs import bootstrap

RETRY_S: Final = 5.0
SILENT_S: Final = 30.0
_KILL_AFTER: Final = 2.0
"""A probe that was silent for so many times the limit is killed."""
_FIRST_S: Final = 5.0
_PCI: Final = Path("/sys/bus/pci/devices")
_NVIDIA: Final = "0x10de"
_DISPLAY_CLASS: Final = "0x03"


@dataclass(frozen=True, slots=True)
class Seen:
    """Hold one reading of all GPUs.

    Attributes:
        at: monotonic time at which it was put together, seconds: each GPU was read
            ``facts.silent`` seconds before.
        gpus: those that the daemon may use.
        cards: UUIDs of all physical GPUs that the driver shows.
        count: how many GPUs the host has, including those that the driver does not show.
        trouble: why the driver could not be queried; empty if it could.
        wanted: the daemon may use GPUs at all.
    """

    at: float
    gpus: tuple[Gpu, ...] = ()
    cards: frozenset[str] = frozenset()
    count: int = 0
    trouble: str = ""
    wanted: bool = True


class Monitor:
    """Hold the latest reading of the GPUs, and the XIDs since the last call.

    Args:
        allowed: ``CUDA_VISIBLE_DEVICES`` of the daemon, None for all GPUs.
        silent: seconds after which a driver that does not answer is a fault.
        known: how many GPUs the driver showed to an earlier daemon: it may not be loaded yet.
    """

    def __init__(self, allowed: str | None, *, silent: float = SILENT_S, known: int = 0) -> None:
        self.silent = silent
        self._allowed = allowed
        self._seen: Seen | None = None
        self._xids: list[tuple[str, int]] = []
        self._most = known
        self._first = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Start the probe; wait a few seconds for the first reading."""
        if self._allowed is not None and self._allowed.strip() in ("", "-1"):
            self._publish(Seen(time.monotonic(), wanted=False))
            return
        threading.Thread(target=self._run, name="gpus", daemon=True).start()
        self._first.wait(_FIRST_S)

    def stop(self) -> None:
        """Let the probe end; nothing waits for it."""
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
        if seen.count and not seen.trouble and now - seen.at > self.silent:
            trouble = f"The NVIDIA driver has not responded for {self.silent:.0f} s"
            return Seen(now, count=seen.count, trouble=trouble)
        return seen

    def take_xids(self) -> list[tuple[str, int]]:
        """Take the XIDs since the last call, as pairs of UUID and number."""
        with self._lock:
            taken, self._xids = self._xids, []
        return taken

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                with _Probe() as probe:
                    self._follow(probe)
            except OSError as error:
                self._no_driver(f"The GPUs could not be read: {error.strerror}")
            if self._seen is not None and not self._seen.count:
                return  # a host without GPUs
            self._ended.wait(RETRY_S)

    def _follow(self, probe: "_Probe") -> None:
        """Take the readings of a probe until it ends; kill one that is silent for too long."""
        heard, killed = time.monotonic(), False
        while not self._ended.is_set():
            lines = probe.lines(1.0)
            if lines is None:
                if self._seen is None:
                    self._no_driver("The GPUs could not be read: the probe ended")
                return
            for line in lines:
                heard = time.monotonic()
                # anything else was printed by the library
                if line.startswith(b'{"'):
                    self._take(json.loads(line))
            # one that is blocked in the kernel ends when the call returns: no second one is started
            if not killed and time.monotonic() - heard > _KILL_AFTER * self.silent:
                killed = True
                self._log.error("gpu_probe_killed", silent=round(time.monotonic() - heard))
                probe.kill()

    def _take(self, record: dict[str, Any]) -> None:
        if "xid" in record:
            uuid, xid = record["xid"]
            with self._lock:
                self._xids.append((str(uuid), int(xid)))
            self._log.warning("gpu_xid", gpu=uuid, xid=xid)
        elif "trouble" in record:
            self._no_driver(str(record["trouble"]))
        else:
            cards = record["cards"]
            gpus = tuple(_gpu(gpu, card["silent"]) for card in cards for gpu in card["gpus"])
            shown = frozenset(str(card["card"]) for card in cards)
            allowed = visible(gpus, self._allowed)
            self._publish(Seen(record["at"], allowed, shown, self._count(len(allowed))))

    def _no_driver(self, trouble: str) -> None:
        self._publish(Seen(time.monotonic(), count=self._count(0), trouble=trouble))

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
        if seen.gpus and (before is None or before.trouble):
            self._log.info("gpus_seen", gpus=[f"{g.label} {g.name} {g.uuid}" for g in seen.gpus])
        self._first.set()


class _Probe:
    """Run one probe process and read its lines, without ever waiting for it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            bootstrap.command(sys.executable, "rekindle.daemon.gpus.probe", options=("-P",)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # a Ctrl-C in the daemon's terminal must not reach it
            start_new_session=True,
        )
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # it ends itself at its end of input
        self._process.stdout.close()
        self._process.poll()

    def lines(self, seconds: float) -> list[bytes] | None:
        """Wait for lines; none after ``seconds``, None when the probe has ended."""
        out = self._process.stdout
        assert out is not None
        if not select.select([out], [], [], seconds)[0]:
            return []
        data = os.read(out.fileno(), 1 << 16)
        if not data:
            return None
        *whole, self._rest = (self._rest + data).split(b"\n")
        return whole

    def kill(self) -> None:
        self._process.kill()


def _gpu(record: dict[str, Any], silent: float) -> Gpu:
    facts = replace(Facts(**record.pop("facts")), silent=silent)
    record.pop("faults")
    return Gpu(**record, facts=facts)


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
