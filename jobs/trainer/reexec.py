"""Follow a script that starts itself again in its own process.

With ``os.execv(sys.executable, [sys.executable, *sys.argv])`` scripts set variables that an
interpreter reads only once, such as ``PYTHONHASHSEED`` or ``LD_LIBRARY_PATH``. The new interpreter
would run the script without the trainer; the hook makes it run the trainer with the arguments of
the script.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from rekindle.jobs import bootstrap
from rekindle.jobs.job import Job
from rekindle.jobs.keras_compat.keras_support import HINT, NOT_FOLLOWED

ARGUMENTS: Final = "--"
"""Separator between the trainer's own arguments and those of the script."""
_WITH_VALUE: Final = ("-W", "-X")


def install(job: Job, trainer: Sequence[str], report: Callable[[str, str], None]) -> None:
    """Install hooks of ``os.execv`` and ``os.execve``, which all other forms of exec call.

    Args:
        trainer: the arguments of this trainer, run directory and attempt.
        report: called with message and hint if another program replaces the process.
    """
    owner = os.getpid()
    for name in ("execv", "execve"):
        plain = getattr(os, name)

        @functools.wraps(plain)
        def replace(path: Any, argv: Any, *env: Any, plain: Callable[..., Any] = plain) -> Any:
            if (
                os.getpid() == owner
                and isinstance(path, str | bytes | os.PathLike)
                and (os.path.exists(path))
            ):
                words = [os.fsdecode(word) for word in argv]
                again = arguments(job, words)
                if again is not None:
                    options, args = again
                    argv = bootstrap.command(
                        os.fsdecode(path),
                        "rekindle.jobs.trainer.main",
                        *trainer,
                        ARGUMENTS,
                        *args,
                        options=tuple(options),
                    )
                else:
                    report(
                        f"The script replaces its process with {os.path.basename(path)!s}: "
                        f"{NOT_FOLLOWED}",
                        HINT,
                    )
            return plain(path, argv, *env)

        setattr(os, name, replace)


def arguments(job: Job, argv: list[str]) -> tuple[list[str], list[str]] | None:
    """Split ``argv`` into interpreter options and script arguments; None if it is another script.

    Args:
        argv: beginning with the program's name.
    """
    options: list[str] = []
    rest = argv[1:]
    while rest and rest[0].startswith("-") and not rest[0].startswith(("-m", "-c", "--")):
        take = 2 if rest[0] in _WITH_VALUE else 1
        options, rest = options + rest[:take], rest[take:]
    if job.module is not None:
        same = rest[:2] == ["-m", job.module]
        return (options, rest[2:]) if same else None
    if job.script is None or not rest:
        return None
    same = os.path.realpath(rest[0]) == os.path.realpath(job.script)
    return (options, rest[1:]) if same else None
