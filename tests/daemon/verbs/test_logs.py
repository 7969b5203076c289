"""`rekindle logs` prints the logs and reports missing ones."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import Rig, environment

from rekindle.daemon.verbs import logs as verb


def logs(rig: Rig, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "rekindle.daemon", "--home", str(rig.home.root), "logs", *words],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_missing_log_is_reported_in_a_sentence(rig: Rig) -> None:
    """The folder is removed, or replaced by a file: neither silence nor a traceback."""
    rig.drop("command = ['echo', 'hello']\nworkdir = '/'\n", "a.toml")
    assert rig.start("--until-idle").wait(120) == 0
    assert logs(rig, "a") == (0, "hello\n", "")
    assert logs(rig, "a", "--all")[:2] == (0, "--- attempt 1\nhello\n")
    run = rig.home.run("a-1")
    code, _, said = logs(rig, "a", "--attempt", "2")
    assert (code, "has no attempt 2" in said) == (3, True)
    shutil.rmtree(run.logs)
    for _ in range(2):
        for words, expected in (
            (("a",), 3),
            (("a", "--attempt", "1"), 3),
            (("a", "--all"), 3),
            (("a", "--follow"), 0),
        ):
            code, out, said = logs(rig, *words)
            assert code == expected, (words, said)
            assert out in ("", "--- attempt 1\n")
            first = said.splitlines()[0]
            assert first.startswith("rekindle: The log of attempt 1 of a-1 does not exist"), said
            assert str(run.log(1)) in first
            assert "Traceback" not in said
        if run.logs.is_file():
            break
        run.logs.write_text("no folder")


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=12),
    st.booleans(),
    st.integers(0, 14),
    st.integers(1, 7),
)
def test_the_tail_begins_at_a_line(
    lines: list[bytes], ended: bool, wanted: int, chunk: int
) -> None:
    """As the last of all lines, wherever the pieces in which it is read end; also of one that has
    not ended."""
    text = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    with tempfile.NamedTemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        file.write(text)
        file.flush()
        patch.setattr(verb, "_CHUNK", chunk)
        start = verb._start(Path(file.name), wanted)
    parts = text.split(b"\n")
    kept = [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
    assert text[start:] == (b"".join(kept[-wanted:]) if wanted else b"")


def test_the_tail_of_a_huge_log_reads_only_its_end(tmp_path: Path) -> None:
    """A sparse gigabyte: what is read is counted by the kernel."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.seek(2**30)
        file.write(b"one\ntwo\nthree\n")
    before = read_bytes()
    start = verb._start(log, 2)
    assert start == 2**30 + 4
    assert read_bytes() - before < 2**20
    assert verb._start(tmp_path / "missing", 2) == 0


def read_bytes() -> int:
    """Return how many bytes this process has read so far, from the cache as well."""
    counts = Path("/proc/self/io").read_text()
    return int(counts.split("rchar: ")[1].split()[0])
