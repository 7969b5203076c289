"""Where every thread of a hung trainer stands: asked for by the keeper, written into the log.

The trainer's handler is faulthandler's, in C: it needs neither the interpreter's lock nor a
Python frame that makes progress, so that a deadlock and a native call that never lets go of
the lock are shown as well. What the kernel knows is written for any process.
"""

import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import Final

DUMP: Final = signal.SIGRTMIN + 9
"""A real-time signal that neither Python, TensorFlow nor CUDA use."""


def register() -> None:
    """Makes this process write all its stacks into its log on :data:`DUMP`, and when it dies of
    a fault of its own (SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL)."""
    try:
        # a descriptor of our own: the script may close or replace its standard error
        log = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)
        faulthandler.register(DUMP, file=log, all_threads=True)
        faulthandler.enable(file=log, all_threads=True)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"rekindle: stacks cannot be shown should it hang: {error}", flush=True)


def ask(pid: int) -> bool:
    """Asks a process to write its stacks; False where it would die of the question."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        if not int(caught, 16) >> (DUMP - 1) & 1:
            return False
        os.kill(pid, DUMP)
    except (OSError, StopIteration, ValueError):
        return False
    return True


def seen_by_the_kernel(pid: int) -> list[str]:
    """A line for each thread: its name, its state and what it waits for in the kernel."""
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
    "R": "runs",
    "S": "waits",
    "D": "waits for a device",
    "T": "stopped by a signal",
    "t": "stopped by a debugger",
    "Z": "has ended",
    "I": "idle",
}
