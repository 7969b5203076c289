"""`top` shows jobs, GPUs and host live, on terminals of any width, and ends when asked."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_gpus import Box
from nights import Night
from rig import environment, wait_for

from rekindle.daemon.client import cli
from rekindle.daemon.gpus import usage
from rekindle.daemon.gpus.usage import Watch
from rekindle.daemon.verbs import top


class Screen:
    """Run `top` on a terminal of a given width."""

    def __init__(self, night: Night, columns: int, **env: str) -> None:
        self._fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rekindle.daemon", "--home", str(night.home.root), "top"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={
                name: value
                for name, value in environment(TERM="xterm-256color", **env).items()
                if name not in ("COLUMNS", "LINES")  # of the workers of the tests
            },
        )
        self.theirs = theirs
        self.said = ""

    def read(self) -> str:
        """Return everything that was drawn, without colours."""
        while select.select([self._fd], [], [], 0.1)[0]:
            self.said += os.read(self._fd, 1 << 16).decode(errors="replace")
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.said)

    def words(self) -> str:
        """Return everything that was drawn without spaces: a narrow terminal wraps lines."""
        return "".join(self.read().split())

    def press(self, key: bytes) -> None:
        os.write(self._fd, key)

    def ended(self) -> bool:
        self.read()  # a process whose output nobody reads cannot end
        return self.process.poll() is not None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)
        os.close(self.theirs)


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    made = Night(tmp_path / "home", tmp_path / "work")
    yield made
    made.close()


@pytest.mark.parametrize("columns", [130, 44])
def test_it_shows_what_runs_needs_a_person_and_is_next(
    night: Night, tmp_path: Path, columns: int
) -> None:
    box = Box(tmp_path, 2)
    box.set(0, busy=93, celsius=61, free=21_000)
    night.start(**box.environment())
    night.submit("train", args="--steps 4000 --pause 0.05", spec="[resources]\ngpus = 1\n")
    night.submit("poison", args="--steps 40 --fault raise@13")
    night.submit("later", args="--steps 4000", spec="[resources]\ngpus = 2\n")
    night.step("train-1", 30)
    night.wait_state("poison-1", "held")
    screen = Screen(night, columns, **box.environment())
    try:
        for text in (
            "93 %",
            "61 C",
            "train-1",
            "poison-1:",
            "release poison-1",
            "later-1",
            "load ",
        ):
            wait_for(
                lambda t=text: "".join(t.split()) in screen.words(), f"{text} on the screen", 30
            )
        first = screen.read().split("Needs you")[0]
        assert max(map(len, first.splitlines())) <= columns
        if columns > 100:
            assert re.search(r"train-1 +epoch 1 of \? +\? +[\d.]+ m?s +[\d.]+ MB +1", screen.read())
        screen.press(b"q")
        wait_for(screen.ended, "its end", 10)
        assert screen.process.returncode == 0
        assert termios.tcgetattr(screen.theirs) == screen.before
        assert screen.said.rstrip().endswith("\x1b[?1049l\x1b[?25h") or "\x1b[?1049l" in screen.said
    finally:
        screen.close()


def test_ctrl_c_ends_it_and_no_home_is_no_error(night: Night) -> None:
    """Before the first daemon; the terminal echoes again."""
    screen = Screen(night, 100)
    try:
        wait_for(lambda: "No job was ever run here." in screen.read(), "the first picture", 30)
        screen.process.send_signal(signal.SIGINT)
        wait_for(screen.ended, "its end", 10)
        assert screen.process.returncode == 0
        assert termios.tcgetattr(screen.theirs) == screen.before
    finally:
        screen.close()


def test_into_a_pipe_it_names_what_to_use(night: Night, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--home", str(night.home.root), "top"]) == 2
    assert " ls --watch` prints into a pipe" in capsys.readouterr().err


def test_a_driver_that_hangs_is_said_and_stops_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own: the library is loaded once in each."""
    box = Box(tmp_path, 1)
    code = (
        "import sys, time\n"
        "from rekindle.daemon.gpus import usage\n"
        "usage.SILENT_S = 0.5\n"
        "watch = usage.Watch()\n"
        "while True:\n"
        "    found = watch.latest()\n"
        "    print(len(found.usages), found.trouble, flush=True)\n"
        "    time.sleep(0.1)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(**box.environment()),
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                if line.startswith("1 "):
                    box.set(0, hang=1)
                if "no answer for" in line:
                    break
            box.set(0, hang=0)
            assert any(line.startswith("1 ") for line in child.stdout)
        finally:
            child.kill()


def test_without_a_driver_the_reason_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    wait_for(lambda: "NVML" in watch.latest().trouble, "a reason", 10)
    assert watch.latest().usages == ()
    assert usage.SILENT_S > 1


def test_the_memory_of_a_job_is_that_of_all_its_processes() -> None:
    code = "import time; x = bytearray(64 * 2**20); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            assert 64 * 2**20 < (top.memory_of(child.pid) or 0) < 512 * 2**20
            own = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            assert (top.memory_of(os.getpid()) or 0) > own + 64 * 2**20
        finally:
            child.kill()
    began = time.monotonic()
    assert top.memory_of(2**22 + 1) is None
    assert time.monotonic() - began < 1
