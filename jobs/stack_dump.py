"""Dump the stacks of all threads of a hung trainer into its log, on request of the keeper.

The trainer's handler is faulthandler's, in C: it needs neither the GIL nor a Python frame that
makes progress, so it also shows a deadlock and a native call that holds the GIL. The kernel's
view is available for any process.
"""

import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import Final

DUMP: Final = signal.SIGRTMIN + 9
"""A real-time signal that neither Python nor TensorFlow nor CUDA uses."""


def register() -> None:
    """Dump the stacks of this process into its log on :data:`DUMP` and on a fatal signal.

    Fatal signals are SIGSEGV, SIGABRT, SIGBUS, SIGFPE and SIGILL.
    """
    try:
        # a separate descriptor: the script may close or replace its standard error
        log = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)
        faulthandler.register(DUMP, file=log, all_threads=True)
        faulthandler.enable(file=log, all_threads=True)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"rekindle: stacks cannot be dumped if the trainer hangs: {error}", flush=True)


def request(pid: int) -> bool:
    """Request a dump of stacks; return False for a process that the signal would kill."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        if not int(caught, 16) >> (DUMP - 1) & 1:
            return False
        os.kill(pid, DUMP)
    except (OSError, StopIteration, ValueError):
        return False
    return True


def kernel_view(pid: int) -> list[str]:
    """Describe each thread in a line: its name, its state and what it waits for in the kernel."""
    found = []
    try:
        threads = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda task: int(task.name))
    except OSError:
        return []
    for task in threads:
        try:
            name, fields = (task / "stat").read_text().rsplit(") ", 1)
            waits = (task / "wchan").read_text().strip()
        except OSError:
            continue
        where = f", in {waits}" if waits not in ("", "0") else ""
        found.append(
            f"thread {task.name} ({name.split(' (', 1)[1]}): "
            f"{_STATES.get(fields[0], fields[0])}{where}"
        )
    return found


_STATES: Final = {
    "R": "running",
    "S": "waiting",
    "D": "waiting for a device",
    "T": "stopped by a signal",
    "t": "stopped by a debugger",
    "Z": "ended",
    "I": "idle",
}
