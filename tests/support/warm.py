"""Warm interpreter: Python that has imported TensorFlow and Keras, and forks for each attempt.

The import of TensorFlow in every attempt takes half of the time of a test of real training.
``start`` has a server, one for each test process and set of packages, fork a child that does what
``python -c CODE ARGS`` would do. If CODE is the keeper, the trainer is forked as well; everything
else is real: parents, sessions, signals, locks, exit statuses. No operation of TensorFlow has run
before a fork, and the modules of rekindle are loaded in the child.

Do not use it to test a start itself: hash seeds other than ``HASH_SEED``, environment variables
that libraries read when they are loaded, import hooks, ``/proc/PID/environ``.
"""

import atexit
import contextlib
import ctypes
import gc
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import types
from typing import Any, NoReturn

HASH_SEED = 7
_MOST = 1 << 18


# the side of the tests


class Process:
    """Represent a forked process, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, fd: int) -> None:
        self.pid = pid
        self._fd = fd

    def poll(self) -> int | None:
        """Return 0 once it has ended, whose status is unknown; else None."""
        return 0 if select.select([self._fd], [], [], 0)[0] else None

    def wait(self, timeout: float | None = None) -> int:
        if not select.select([self._fd], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return 0

    def send_signal(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        os.close(self._fd)


# by the packages that it does not hide: Keras looks for them when it is imported
_servers: dict[str, socket.socket] = {}


def start(argv: list[str], env: dict[str, str], pass_fds: tuple[int, ...]) -> Process:
    """Start ``argv``, a command line with ``-c``, without input or output."""
    used = env.get("STRIKE_USED", "")
    server = _servers.get(used) or _servers.setdefault(used, _serve(env))
    request = json.dumps({"argv": argv, "env": env, "fds": pass_fds}).encode()
    socket.send_fds(server, [request], pass_fds)
    answer, fds, _, _ = socket.recv_fds(server, _MOST, 1)
    assert answer, "the warm interpreter has ended"
    return Process(int(answer), fds[0])


def _serve(env: dict[str, str]) -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = theirs.fileno()
    process = subprocess.Popen(
        [sys.executable, __file__, str(fd)],
        pass_fds=(fd,),
        stdin=subprocess.DEVNULL,
        env={**env, "PYTHONHASHSEED": str(HASH_SEED), "PYTHONUNBUFFERED": "1"},
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait(60)

    atexit.register(end)
    return ours


# the side of the server


def main() -> None:
    """Fork a child for each request, until the test process has ended."""
    import keras
    import numpy as np
    import tensorflow as tf

    del keras, np, tf
    assert threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1
    # otherwise the garbage collector of a child would copy every page
    gc.collect()
    gc.freeze()
    connection = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    while True:
        message, received, _, _ = socket.recv_fds(connection, _MOST, 8)
        if not message:
            return
        request = json.loads(message)
        # the child waits for a byte: if it ended at once, its pid could not be opened
        hold, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(go)
            os.read(hold, 1)
            connection.detach()  # its descriptor number is reused below
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            # to descriptors above the numbers that they must have
            moved = [os.dup2(fd, 500 + fd) for fd in received]
            os.closerange(3, 500)
            for fd, number in zip(moved, request["fds"], strict=True):
                os.dup2(fd, number)
                os.close(fd)
            _interpret(request["argv"], request["env"])
        os.close(hold)
        opened = os.pidfd_open(pid)
        socket.send_fds(connection, [str(pid).encode()], [opened])
        for fd in (go, opened, *received):
            os.close(fd)


def _interpret(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Do what ``python [options] -c CODE ARGS`` does, in a new forked child."""
    at = argv.index("-c")
    options, code, args = argv[1:at], argv[at + 1], argv[at + 2 :]
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["-c", *args]
    sys.path[0] = ""
    for name in [name for name in sys.modules if name.partition(".")[0] == "rekindle"]:
        del sys.modules[name]  # the trainer must load its own modules, not use the keeper's
    _patch("-S" not in options)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    # two children without a seed must not draw the same numbers
    random.seed()
    sys.modules["numpy"].random.seed()
    status = 0
    try:
        exec(code, module.__dict__)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    if "-S" in options:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(
            status
        )  # skips a teardown of half a second of modules that a real keeper does not load
    # join threads, run exit handlers and flush, as at the end of any Python
    ctypes.pythonapi.Py_Exit(status)
    raise AssertionError


def _patch(site: bool) -> None:
    """Arm a trainer with the blow of its environment; let a keeper fork its trainer."""
    import sitecustomize as strike

    if site:
        subprocess.Popen = _Popen.plain
        strike.arm()
    else:
        strike.disarm()
        subprocess.Popen = _Popen


class _Popen(subprocess.Popen):
    """Fork instead of starting an interpreter like this one; start everything else."""

    plain = subprocess.Popen

    def __new__(cls, argv: list[str], **options: Any) -> Any:
        if argv[0] == sys.executable and "-c" in argv:
            return _Forked(argv, **options)
        return cls.plain(argv, **options)


class _Forked:
    """Represent a forked child, with the options that the keeper passes for its trainer."""

    def __init__(
        self,
        argv: list[str],
        *,
        cwd: str,
        env: dict[str, str],
        stdin: int,
        start_new_session: bool,
        preexec_fn: Any,
        pass_fds: tuple[int, ...],
        umask: int,
        stdout: None = None,
        stderr: None = None,
    ) -> None:
        assert stdin == subprocess.DEVNULL and start_new_session
        assert stdout is None and stderr is None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid:
            return
        os.chdir(cwd)
        os.setsid()
        if umask >= 0:
            os.umask(umask)
        preexec_fn()
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd > 2 and fd not in pass_fds:
                with contextlib.suppress(OSError):
                    os.close(fd)
        _interpret(argv, env)


if __name__ == "__main__":
    main()
