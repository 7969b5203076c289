"""Freeze the clock that names the script's output, with ``freeze_clock = true``.

Outside of stages the job's own code then gets the start of the first attempt from ``datetime.now``,
``utcnow``, ``today`` and ``date.today``, and from ``time.strftime``, ``localtime``, ``gmtime``,
``ctime`` and ``asctime`` without a time. ``time.time`` and all other clocks run on. Libraries get
the real time: a request that is signed with an old one would be refused.
"""

import ctypes
import datetime as dt
import functools
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from rekindle.jobs import code_origin
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.files.moved import is_temporary
from rekindle.jobs.files.put_back import SLACK_S
from rekindle.state import durable
from rekindle.state.paths import Run
from rekindle.state.run import entries, reading, summary

# not the constant of Python 3.11: a job's Python may be 3.10
_UTC: Final = dt.timezone(dt.timedelta(0))
_NAMING: Final = ("/hydra/",)
"""Folders of libraries that name a script's output folder."""


def install(session: Session) -> None:
    """Freeze the clock of this process if the job wants that."""
    if not session.job.freeze_clock:
        return
    try:
        frozen = first_start(session.run, time.time())
        Clock(frozen, lambda: not session.stages.inside).install()
        if session.attempt > 1:
            _accept_dated_folders(frozen)
    except Exception as error:
        session.warn(
            f"`freeze_clock` has no effect ({type(error).__name__}: {error}).",
            'Name output folders after the job in the script, by os.environ["REKINDLE_JOB"].',
        )


def first_start(run: Run, now: float) -> float:
    """Return the start of the first attempt since the last start from scratch, Unix seconds.

    Raises:
        OSError: it cannot be read or written.
    """
    scratch = max(
        (e["t"] for e in entries.scratch_requested.among(summary.read(run).entries)), default=0.0
    )
    try:
        known = float(reading.parse_json(reading.read_text(run.frozen_clock))["first_start"])
        if known > scratch:
            return known
    except FileNotFoundError:
        pass
    except (KeyError, TypeError, ValueError):
        pass  # damaged: the script's names change once more
    durable.write_bytes(run.frozen_clock, json.dumps({"first_start": now}).encode())
    return now


class Clock:
    """Replace the functions that read the date.

    Args:
        frozen: Unix seconds.
        active: returns False while the real time is wanted.
    """

    def __init__(self, frozen: float, active: Callable[[], bool]) -> None:
        self._frozen = frozen
        self._active = active

    def install(self) -> None:
        """Replace them in this process, for modules that are imported from now on."""
        for name, position in (("localtime", 0), ("gmtime", 0), ("ctime", 0)):
            setattr(time, name, self._of_seconds(getattr(time, name), position))
        for name, position in (("strftime", 1), ("asctime", 0)):
            setattr(time, name, self._of_struct(getattr(time, name), position))
        plain_now = vars(dt.datetime)["now"]
        plain_utcnow = vars(dt.datetime)["utcnow"]
        plain_today = vars(dt.date)["today"]

        def now(cls: Any, tz: Any = None) -> Any:
            if self._is_frozen(sys._getframe(1)):
                return cls.fromtimestamp(self._frozen, tz)
            return plain_now.__get__(None, cls)(tz)

        def utcnow(cls: Any) -> Any:
            if self._is_frozen(sys._getframe(1)):
                return cls.fromtimestamp(self._frozen, _UTC).replace(tzinfo=None)
            return plain_utcnow.__get__(None, cls)()

        def today(cls: Any) -> Any:
            if self._is_frozen(sys._getframe(1)):
                return cls.fromtimestamp(self._frozen)
            return plain_today.__get__(None, cls)()

        _set_method(dt.datetime, "now", classmethod(now))
        _set_method(dt.datetime, "utcnow", classmethod(utcnow))
        _set_method(dt.date, "today", classmethod(today))

    def _is_frozen(self, frame: Any) -> bool:
        """Return whether a caller gets the frozen time."""
        file = frame.f_code.co_filename
        if code_origin.is_library(file) and not any(part in file for part in _NAMING):
            return False
        return self._active()

    def _of_seconds(self, plain: Callable[..., Any], position: int) -> Callable[..., Any]:
        @functools.wraps(plain)
        def read(*args: Any) -> Any:
            if (not args or args[position] is None) and self._is_frozen(sys._getframe(1)):
                return plain(self._frozen)
            return plain(*args)

        return read

    def _of_struct(self, plain: Callable[..., Any], position: int) -> Callable[..., Any]:
        localtime = time.localtime

        @functools.wraps(plain)
        def read(*args: Any) -> Any:
            if len(args) == position and self._is_frozen(sys._getframe(1)):
                return plain(*args, localtime(self._frozen))
            return plain(*args)

        return read


def _accept_dated_folders(frozen: float) -> None:
    """Let ``os.mkdir`` accept a folder named by the frozen clock that an earlier attempt has made.

    The script takes its name for a new one.
    """
    plain = os.mkdir
    forms = ("%Y", "%y%m%d", "%m%d", "%d%m", "%H%M", "%H-%M", "%H_%M", "%H:%M")
    pieces = [time.strftime(form, time.localtime(frozen)) for form in forms]

    @functools.wraps(plain)
    def mkdir(path: Any, *args: Any, **kwargs: Any) -> None:
        try:
            plain(path, *args, **kwargs)
        except FileExistsError:
            name = os.path.abspath(os.fsdecode(path))
            dated = any(piece in os.path.basename(name) for piece in pieces)
            if not dated or is_temporary(name) or not os.path.isdir(name):
                raise
            if os.stat(name).st_mtime < frozen - SLACK_S:
                raise  # it was there before this job

    vars(os)["mkdir"] = mkdir


def _set_method(owner: type, name: str, method: Any) -> None:
    """Set a method of a class written in C, in place.

    The class stays the same object: however it was imported, and for isinstance and pickle.
    """
    (table,) = (found for found in gc.get_referents(vars(owner)) if isinstance(found, dict))
    table[name] = method
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(owner))
