"""Look at the host: disk, GPUs, clock."""

import ctypes
import os
import time
from dataclasses import dataclass
from typing import Final

from rekindle.jobs import provenance
from rekindle.state.paths import Home

_UNSYNCHRONISED: Final = 0x40


@dataclass(frozen=True, slots=True)
class Host:
    """Describe the host of a home.

    Attributes:
        name: its node name.
        free, size: bytes of the disk of the home; None where it cannot be read.
        gpus: the models of its GPUs.
        synchronised: whether the kernel's clock is; None where it does not say.
        zone: the time zone in which times are printed.
        load: processes that want to run, on average over a minute.
        cores: processors that this process may use.
    """

    name: str
    free: int | None
    size: int | None
    gpus: tuple[str, ...]
    synchronised: bool | None
    zone: str
    load: float
    cores: int


class _Timex(ctypes.Structure):
    """The struct of adjtimex(2) up to the status; the rest is padding."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def synchronised() -> bool | None:
    """Ask the kernel whether the clock is synchronised; None where it does not say."""
    asked = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(asked)) < 0:
        return None
    return not asked.status & _UNSYNCHRONISED


def look(home: Home) -> Host:
    """Look at the host now; nothing here waits for a driver."""
    machine = provenance.machine()
    free: int | None = None
    size: int | None = None
    try:
        info = os.statvfs(home.root)
    except OSError:
        pass  # this user lacks permission
    else:
        free, size = info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize
    zone = time.tzname[time.localtime().tm_isdst > 0]
    return Host(
        machine["host"],
        free,
        size,
        tuple(machine["gpus"]),
        synchronised(),
        zone,
        os.getloadavg()[0],
        machine["cores"],
    )
