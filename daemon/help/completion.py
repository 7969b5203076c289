"""Complete the command line in a shell, by argcomplete: verbs, options, jobs."""

import os
import sys
from collections.abc import Callable
from typing import Final

from rekindle.daemon import extras
from rekindle.daemon.help.parser import Parser

SHELLS: Final = ("bash", "zsh", "fish")


def code(shell: str) -> str:
    """Return the code that makes a shell complete `rekindle`.

    Raises:
        ExtraMissing: argcomplete is not installed.
    """
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError:
        raise extras.missing("Completion", "argcomplete", "") from None
    return shellcode(["rekindle"], shell=shell)


def answer(make: Callable[[list[str]], Parser]) -> None:
    """Answer a shell that asks how the line could continue; end the process.

    Args:
        make: makes the parser, with the arguments of the verbs that are among some words.
    """
    try:
        import argcomplete
    except ImportError:
        sys.exit(1)
    line = os.environ.get("COMP_LINE", "")
    words = line[: int(os.environ.get("COMP_POINT") or len(line))].split(" ")
    if "--" in words[:-1]:
        sys.exit(1)  # arguments of a script: the shell completes names of files
    argcomplete.autocomplete(make(words[1:]), always_complete_options=False)
