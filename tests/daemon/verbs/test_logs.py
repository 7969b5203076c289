"""`rekindle logs` prints the logs and reports missing ones."""

import shutil
import subprocess
import sys

from rig import Rig, environment


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
