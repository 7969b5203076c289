"""A verb that works for long says on a terminal what it does; elsewhere it adds nothing."""

import os
import pty
import subprocess
import sys

import pytest
from rig import environment

from rekindle.daemon.client import terminal

CODE = """
from rekindle.daemon.client import terminal
with terminal.doing("reading [a]") as show:
    show("writing [b]")
print("result")
"""


def test_what_is_done_is_shown_beside_the_output() -> None:
    """On standard error, so that the output of a pipe stays as it is."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment(TERM="xterm"),
        check=True,
        text=True,
    )
    os.close(theirs)
    said = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.stdout == "result\n"
    assert "reading [a]" in said or "writing [b]" in said


def test_without_a_terminal_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.doing("reading") as show:
        show("writing")
    assert capsys.readouterr() == ("", "")
