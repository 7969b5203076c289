"""Be a spare: import libraries, wait for an attempt, and become its trainer.

The script is neither read nor run before. The process that asks is the keeper, over a socket in
the place of standard input.
"""

import contextlib
import importlib
import os
import random
import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from rekindle.jobs import process
from rekindle.jobs.handover.channel import Channel, Closed, Message
from rekindle.jobs.seeding import unseeded
from rekindle.jobs.spare.group import Group, Unfit
from rekindle.jobs.spare.preloaded import Preloaded
from rekindle.state import crash_points

_OOM: Final = Path("/proc/self/oom_score_adj")
_FIRST_TO_GO: Final = "1000"


@dataclass(frozen=True, slots=True)
class Files:
    """Files that the imports have read, and folders that they have searched, with size and time.

    Attributes:
        loaded: top-level modules that the imports have loaded.
    """

    seen: dict[str, tuple[int, int, int] | None]
    loaded: frozenset[str]

    @classmethod
    def of_imports(cls, before: set[str]) -> "Files":
        """Look at the files of all modules, the folders of ``sys.path`` and Keras' settings.

        Args:
            before: names of the modules that were loaded before the imports.
        """
        paths = {*sys.path, str(_keras_settings())}
        for module in [*sys.modules.values()]:
            spec = getattr(module, "__spec__", None)
            if spec is not None and spec.has_location:
                paths.update(filter(None, (spec.origin, os.path.dirname(spec.origin or ""))))
        loaded = frozenset(name.partition(".")[0] for name in sys.modules.keys() - before)
        return cls({path: _look(path) for path in paths}, loaded)

    def changed(self, folders: list[str]) -> str | None:
        """Say which file has changed, or would have been found first; None if none.

        Args:
            folders: of the script, which a cold start searches before all others.
        """
        for path, was in self.seen.items():
            if _look(path) != was:
                return f"{path} has changed"
        for folder in folders:
            with contextlib.suppress(OSError):
                for name in os.listdir(folder):
                    if name.partition(".")[0] in self.loaded and _is_module(folder, name):
                        return f"{os.path.join(folder, name)} hides a module of a library"
        return None


def wait(channel: Channel, prepare: Callable[[int], Callable[[], None]]) -> Preloaded:
    """Import what the keeper names, and return when an attempt takes this process.

    Args:
        prepare: begins to seed each library as it is imported, with the seed of the job; returns a
            function that ends that.
    """
    try:
        asked, _ = channel.receive()
        score = _raise_oom_score()
        preloaded, files = _load(asked, prepare)
        channel.send({"ready": True})
        taken, fds = channel.receive()
        importlib.invalidate_caches()
        changed = files.changed(asked["folders"])
        if changed is not None:
            raise Unfit(changed)
        preloaded.hide(taken["variables"])
        _take_over(fds, score)
        channel.send({"taken": True})
        crash_points.reached("spare_agreed")
        channel.receive()
        crash_points.reached("spare_begins")
    except Closed:
        os._exit(0)
    except BaseException as error:
        kind = "" if isinstance(error, Unfit) else f"{type(error).__name__}: "
        _refuse(channel, f"{kind}{error}")
    channel.close()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return preloaded


def _load(asked: Message, prepare: Callable[[int], Callable[[], None]]) -> tuple[Preloaded, Files]:
    argv, main, before = sys.argv, sys.modules["__main__"], set(sys.modules)
    variables, filters = dict(os.environ), [*warnings.filters]
    finders, hooks = [*sys.meta_path], [*sys.path_hooks]
    random.seed(asked["seed"])
    unseeded.of_python(asked["seed"])
    end = prepare(asked["seed"])
    sys.argv = asked["argv"]
    script = types.ModuleType("__main__")
    vars(script)["__file__"] = asked["argv"][0]
    sys.modules["__main__"] = script
    try:
        groups = [Group.load(name) for name in asked["modules"]]
    finally:
        end()
        sys.argv, sys.modules["__main__"] = argv, main
    if process.children(os.getpid()):
        raise Unfit("an import has started a process")
    held = [os.readlink(f"/proc/self/fd/{fd}") for fd in _descriptors()]
    if any(name.startswith("/dev/nvidia") for name in held):
        raise Unfit("an import has opened a GPU")
    return Preloaded(groups, variables, filters, finders, hooks), Files.of_imports(before)


def _descriptors() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}")]


def _is_module(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    return name.endswith((".py", ".pyc", ".so")) or os.path.isfile(
        os.path.join(path, "__init__.py")
    )


def _take_over(fds: list[int], score: str | None) -> None:
    """Enter the attempt: its log, its lock, and the kernel's choice when memory runs out."""
    log, *lock = fds
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for fd in lock:
        os.set_inheritable(fd, True)
    if score is not None:
        _OOM.write_text(score)


def _raise_oom_score() -> str | None:
    """Let the kernel kill this process first while it waits; return the value before."""
    try:
        before = _OOM.read_text().strip()
        _OOM.write_text(_FIRST_TO_GO)
    except OSError:
        return None
    return before


def _refuse(channel: Channel, why: str) -> NoReturn:
    try:
        channel.send({"unfit": why})
    except Closed:
        pass
    os._exit(0)


def _look(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _keras_settings() -> Path:
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    return Path(home, "keras.json")
