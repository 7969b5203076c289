"""Run the daemon in every Python that it supports, as an installed program."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pythons
from rig import ROOT, environment, wait_for

# slow: makes an environment for each version and installs into it
pytestmark = pytest.mark.slow(15)

OTHERS = ((3, 12), (3, 13))
"""Besides the version that all other tests run in."""


class Installed:
    """A virtual environment with rekindle in it, and one home."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / "bin"
        self.home = folder / "home"
        self.env = {k: v for k, v in environment().items() if k != "PYTHONPATH"}
        self.daemon: subprocess.Popen[bytes] | None = None

    def install(self, python: str, wheel: Path) -> None:
        self.run(python, "-m", "venv", str(self.bin.parent))
        self.run(
            *(str(self.bin / "python"), "-m", "pip", "install", "--quiet"),
            *("--disable-pip-version-check", "--constraint", str(ROOT / "constraints.txt")),
            str(wheel),
        )

    def run(self, *command: str) -> str:
        ran = subprocess.run(
            command, capture_output=True, text=True, env=self.env, cwd=self.home.parent, timeout=300
        )
        assert ran.returncode == 0, (command, ran.stdout, ran.stderr)
        return ran.stdout

    def say(self, *words: str) -> str:
        return self.run(str(self.bin / "rekindle"), "--home", str(self.home), *words)

    def show(self, job: str) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.say("show", job, "--json"))
        return shown

    def start(self) -> None:
        with (self.home.parent / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [str(self.bin / "rekindle"), "--home", str(self.home), "run"],
                stdout=log,
                stderr=log,
                env=self.env,
            )

    def end(self) -> int:
        assert self.daemon is not None
        daemon, self.daemon = self.daemon, None
        daemon.send_signal(signal.SIGTERM)
        return daemon.wait(60)


@pytest.fixture(params=OTHERS, ids=lambda version: "{}.{}".format(*version))
def installed(
    request: pytest.FixtureRequest, wheel_file: Path, tmp_path: Path
) -> Iterator[Installed]:
    python = pythons.find(*request.param)
    if python is None:
        pytest.skip("needs a Python {}.{}".format(*request.param))
    made = Installed(tmp_path)
    made.install(python, wheel_file)
    yield made
    if made.daemon is not None:
        made.end()


def counting_command() -> str:
    """Give the example of docs/spec.md, a little faster."""
    found = re.search(r"```sh\n(#!/bin/sh.*?)```", (ROOT / "docs/spec.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1].replace("sleep 1 ", "sleep 0.3 ")


def test_the_daemon_runs_and_resumes_a_job(installed: Installed, packed: set[str]) -> None:
    """From the inbox to done, with a stop of the daemon in the middle."""
    modules = sorted(
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in packed
        if name.endswith(".py")
        and name.startswith(("rekindle/daemon", "rekindle/state", "rekindle/jobs/keeper"))
        # numpy is the trainer's
        and not name.endswith(("__main__.py", "demo_script.py", "state/run/tensors.py"))
    )
    code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
    installed.run(str(installed.bin / "python"), "-I", "-W", "error", "-c", code)

    count = installed.home.parent / "count.sh"
    count.write_text(counting_command())
    spec = installed.home.parent / "count.toml"
    spec.write_text(f'command = ["sh", "{count}"]\nworkdir = "{count.parent}"\n')
    installed.say("submit", "--queue", str(spec))
    installed.start()
    checkpoints = installed.home / "runs" / "count-1" / "checkpoints"
    wait_for(lambda: len(list(checkpoints.glob("e*"))) >= 2, "two checkpoints")
    assert installed.end() == 0
    assert installed.show("count-1")["state"] == "queued"

    installed.start()
    installed.say("wait", "count-1")
    shown = installed.show("count-1")
    assert (shown["state"], [a["cause"] for a in shown["attempts"]]) == (
        "done",
        ["preempted", "done"],
    )
    assert "count-1" in installed.say("ls", "--all")
    logs = sorted((installed.home / "runs" / "count-1" / "logs").glob("*.log"))
    counted = re.findall(r"epoch (\d+)\n", "".join(log.read_text() for log in logs))
    assert counted == [str(n) for n in range(1, 11)]
    assert installed.end() == 0
    assert "Traceback" not in (installed.home.parent / "daemon.log").read_text()
