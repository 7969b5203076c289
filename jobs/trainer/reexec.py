"""Follow a script that starts itself again in its own process.

``os.execv(sys.executable, [sys.executable, *sys.argv])`` is how scripts set what an interpreter
reads only once, such as ``PYTHONHASHSEED`` or ``LD_LIBRARY_PATH``. The new interpreter would run
the script plainly; it is given the trainer instead, with the arguments that the script asks for.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from rekindle.jobs import bootstrap
from rekindle.jobs.job import Job
from rekindle.jobs.resume.unfollowed import HINT, NOT_FOLLOWED

ARGUMENTS: Final = "--"
"""Between the trainer's own arguments and those of the script."""
_WITH_VALUE: Final = ("-W", "-X")


def install(job: Job, trainer: Sequence[str], report: Callable[[str, str], None]) -> None:
    """Stand in for ``os.execv`` and ``os.execve``, which all other forms of exec call.

    Args:
        trainer: the arguments of this trainer, run directory and attempt.
        report: called with message and hint where something else takes over the process.
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
                        f"The script replaces its process by {os.path.basename(path)!s}: "
                        f"{NOT_FOLLOWED}",
                        HINT,
                    )
            return plain(path, argv, *env)

        setattr(os, name, replace)


def arguments(job: Job, argv: list[str]) -> tuple[list[str], list[str]] | None:
    """Options of the interpreter and arguments of the script, where ``argv`` runs the job again.

    Args:
        argv: with the program's name in front.
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
