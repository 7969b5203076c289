"""The quickstart is typed command by command, by a new user, and prints what the page shows."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import ROOT, environment

PAGE = ROOT / "docs" / "quickstart.md"
MARK = "@@@"
# `make setup` made the environment that runs this test; it would need a network
TAKEN_FOR_GRANTED = "make setup"
# what differs each time, and on each machine
VARYING = (
    (r"~/rekindle/\.venv", "PYTHON"),
    (r"submitted by \w+ \(uid \d+\)", "submitted by USER"),
    # the last evening: with its date until the next one
    (r"Since (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d", "Since TIME"),
    (r"About .*? left\.", "About TIME left."),
    (r"snapshot [0-9a-f]+", "snapshot DIGEST"),
    (r"[\d.]+ of [\d.]+ (minutes|hours|seconds) useful", "HOURS useful"),
    (r"repeated steps: (\d+ steps? \([^)]*\)|nothing)", "repeated steps: REPEATED"),
    (r"\) +(\d+ steps? \([^)]*\)|nothing)$", ") REPEATED"),
    (r"time +ETTR .*", "time TIME"),
    (r"proof: (\d+ of \d+ repeated steps identical.*|nothing was repeated)", "proof: PROOF"),
    (r"\d+(\.\d+)*", "0"),
    (r" +", " "),
)


def sessions(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of the page, with what it prints."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def normal(text: str, home: str) -> str:
    """Replace what varies; `~` is the home folder of the user."""
    text = text.replace(home, "~").replace(str(ROOT), "~/rekindle")
    lines = text.splitlines()
    for pattern, instead in VARYING:
        lines = [re.sub(pattern, instead, line.rstrip()) for line in lines]
    return "\n".join(lines)


def pattern(text: str) -> str:
    """Make a pattern of an output in which a line `...` stands for any lines."""
    parts = [re.escape(line) for line in text.splitlines()]
    return "\n".join(parts).replace(r"\.\.\.", "...").replace("\n...", r"(?:\n.*)*")


@pytest.mark.slow(60)  # two trainings of twenty epochs, one of them killed
def test_the_quickstart_does_what_it_says(tmp_path: Path) -> None:
    activate = ROOT / ".venv" / "bin" / "activate"
    if not activate.exists() or not Path(sys.executable).is_relative_to(ROOT):
        pytest.skip("`make setup` makes the environment of the page")
    typed = list(sessions(PAGE.read_text()))
    assert len(typed) > 12
    script = "".join(
        f"echo '{MARK}'\n{':' if command == TAKEN_FOR_GRANTED else command}\n"
        for command, _ in typed
    )
    env = {**environment(), "HOME": str(tmp_path)}
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "VIRTUAL_ENV", "PYTHONPATH"):
        env.pop(name, None)
    env["REKINDLE_RUNTIME_DIRECTORY"] = ""  # no service of this host
    done = subprocess.run(
        ["bash", "-c", script + "wait\n"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    outputs = done.stdout.split(f"{MARK}\n")[1:]
    assert len(outputs) == len(typed), done.stdout
    for (command, expected), found in zip(typed, outputs, strict=True):
        wanted = pattern(normal(expected, "~"))
        said = normal(found, str(tmp_path))
        assert re.fullmatch(wanted, said), f"$ {command}\n{found}\n--- the page:\n{expected}"
    assert done.returncode == 0
    assert not (tmp_path / ".local" / "state" / "rekindle" / "daemon.json").exists()
