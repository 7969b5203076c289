"""Bars that were written for a terminal become the line that stood on it in the end."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.daemon.logs.screen_text import ScreenText, clean

KERAS = (
    "\r\x1b[1m1/3\x1b[0m \x1b[32m━━━━━━\x1b[0m\x1b[37m━━━━━━━━━━━━━━\x1b[0m \x1b[1m0s\x1b[0m "
    "154ms/step - loss: 0.5000" + "\b" * 50 + "\r\x1b[1m3/3\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━"
    "\x1b[0m\x1b[37m\x1b[0m \x1b[1m0s\x1b[0m 4ms/step - loss: 0.2500"
)
SAMPLES = [
    KERAS,
    "\r  0%|          | 0/3\r 33%|###       | 1/3 [00:01]\r100%|##########| 3/3",
    "long text here\rshort",
    "long text here\rshort\x1b[K",
    "abc\b\bXY",
    "abc\b\b\b\b\b\bX",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07plain\x1b(B",
    "ä\r\b\bü",
    "a\rb\rc\r",
    "one\r\x1b[2Ktwo",
    "tail  ",
]


@pytest.mark.parametrize("text", SAMPLES)
def test_it_is_what_a_terminal_shows(text: str, tmp_path: Path) -> None:
    """A real one: tmux carries out the same bytes."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    (tmp_path / "text").write_bytes(text.encode() + b"\n")
    tmux = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]
    env = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    command = f"cat {tmp_path}/text; exec sleep 100"
    start = [*tmux, "new-session", "-d", "-x", "150", "-y", "5", command]
    subprocess.run(start, check=True, env=env)
    try:
        shown = ""
        end = time.monotonic() + 20
        while not shown.strip() and time.monotonic() < end:
            capture = [*tmux, "capture-pane", "-p"]
            shown = subprocess.run(
                capture, check=True, env=env, capture_output=True, text=True
            ).stdout
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, env=env)
    assert clean(text.encode()).decode().rstrip() == shown.split("\n")[0].rstrip()


@given(
    st.lists(
        st.sampled_from(["a", "bc", "ä", "\r", "\b", "\n", "\x1b[1m", "\x1b[K", " "]), max_size=40
    ),
    st.integers(1, 7),
)
def test_pieces_of_any_size_give_the_same_lines(parts: list[str], size: int) -> None:
    data = "".join(parts).encode()
    whole = b"\n".join(clean(line) for line in data.split(b"\n"))
    screen = ScreenText()
    found = b""
    for start in range(0, len(data), size):
        found += b"".join(screen.feed(data[start : start + size]))
    assert found + screen.close() == whole


@given(st.binary(max_size=60).map(lambda data: data.translate(None, b"\r\b\x1b")))
def test_all_other_bytes_pass(data: bytes) -> None:
    """Not UTF-8, NUL, form feeds."""
    screen = ScreenText()
    assert b"".join(screen.feed(data)) + screen.close() == data


def test_a_bar_whose_line_never_ends_takes_no_memory() -> None:
    """A night of one bar, without a line break."""
    screen = ScreenText()
    for number in range(20_000):
        screen.feed(f"\r{number:6d}/20000 {'=' * 40}".encode())
        assert len(screen._rest) < 2**17
    assert screen.close().startswith(b" 19999/20000 =")
