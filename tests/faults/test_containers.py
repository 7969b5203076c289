"""A container ends with its client: two containers never write one run.

Kinds of source: `docker run` in a service or a job runner, whose client is killed (SIGKILL, its
parent's end) while the container continues; `-d` in a unit, which then counts as ended. The engine
is a stand-in (tests/fakes/docker_engine.py); no real engine was tried.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import ROOT, Rig, wait_for

pytestmark = pytest.mark.faults

TRAIN = """
import fcntl, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
lock = open(folder / "lock", "a")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    (folder / "two").touch()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
with open(folder / "began", "a") as file:
    print("began", file=file)
while not (folder / "finish").exists():
    time.sleep(0.02)
"""


class Engine:
    """The stand-in's engine, and jobs that run a container in it."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.rig = rig
        self.folder = folder
        self.socket = folder / "socket"
        self.docker = folder / "docker"
        fake = ROOT / "tests" / "fakes" / "docker_engine.py"
        self.docker.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{fake}" "$@"\n')
        self.docker.chmod(0o755)
        (folder / "train.py").write_text(TRAIN)
        self.process = subprocess.Popen([self.docker, "serve", self.socket])
        wait_for(self.socket.exists, "the engine is up")

    def submit(self, *options: str) -> None:
        script = [sys.executable, str(self.folder / "train.py"), str(self.folder)]
        argv = [str(self.docker), "run", "--rm", *options, "image", *script]
        self.rig.drop(
            f'name = "box"\ncommand = {json.dumps(argv)}\nworkdir = "{self.folder}"\n'
            f'env = {{ FAKE_DOCKER_HOST = "{self.socket}" }}\n[retry]\nbackoff = "1s..2s"\n'
            '[limits]\nstop_grace = "20s"\n'
        )

    def began(self, times: int) -> None:
        """Wait until that many containers have begun."""
        path = self.folder / "began"
        wait_for(
            lambda: path.exists() and len(path.read_text().splitlines()) >= times,
            f"container {times} runs",
        )

    @property
    def did(self) -> list[str]:
        """Return what the engine was asked to do, without the questions."""
        lines = (self.folder / "socket.log").read_text().splitlines()
        return [line.strip() for line in lines if not line.startswith(("inspect", "wait"))]

    def running(self) -> bool:
        asked = subprocess.run(
            [self.docker, "container", "inspect", "0000" + "c" * 60],
            env={**os.environ, "FAKE_DOCKER_HOST": str(self.socket)},
            capture_output=True,
            text=True,
        )
        return asked.stdout.strip() == "true"


@pytest.fixture
def engine(rig: Rig, tmp_path: Path) -> Iterator[Engine]:
    made = Engine(rig, tmp_path)
    yield made
    (tmp_path / "finish").touch()
    made.process.kill()
    made.process.wait()


def test_the_container_of_a_killed_keeper_ends_before_the_next_begins(
    engine: Engine, rig: Rig
) -> None:
    """The client dies with its keeper, the container does not; nor is `stop` a reason to kill."""
    engine.submit()
    rig.start()
    engine.began(1)
    started = rig.entries("box-1", "attempt_started")[0]
    os.kill(started["keeper_pid"], signal.SIGKILL)
    engine.began(2)
    assert not (engine.folder / "two").exists(), "two containers wrote one run"
    assert engine.did == ["create", "start 0000", "kill 0000", "create", "start 0001"]
    assert "--cidfile=" in " ".join(started["argv"])

    rig.cli("stop", "box-1")
    rig.wait_state("box-1", "held")
    assert engine.did[5:] == ["kill 0001"], "SIGTERM was not passed on"
    assert rig.show("box-1")["attempts"][-1]["exit_code"] == 75
    assert "an earlier attempt still ran" in rig.cli("logs", "box-1")


def test_the_container_of_a_killed_client_is_ended(engine: Engine, rig: Rig) -> None:
    """The client alone is killed, as for its memory; the file that the job names is used."""
    engine.submit("--cidfile", "mine.cid")
    rig.start()
    engine.began(1)
    client = rig.trainer("box-1", 1)
    assert client.send(signal.SIGKILL)
    engine.began(2)
    assert not (engine.folder / "two").exists()
    assert engine.did[:4] == ["create", "start 0000", "kill 0000", "create"]
    assert (engine.folder / "mine.cid").exists()
    (engine.folder / "finish").touch()
    rig.wait_state("box-1", "done")
    assert not (engine.folder / "mine.cid").exists()


def test_a_detached_container_is_not_done(engine: Engine, rig: Rig) -> None:
    """With `-d` the client ends at once; the job is held with the reason, and nothing runs."""
    engine.submit("-d")
    rig.start()
    held = rig.wait_state("box-1", "held")
    assert "while its container still ran" in held["reason"]
    assert "Leave `-d` out" in held["hint"]
    assert not engine.running()


def test_an_engine_that_is_gone_holds_the_job(engine: Engine, rig: Rig) -> None:
    """Its container may still run: no second one is tried, and a person is asked."""
    engine.submit()
    rig.start()
    engine.began(1)
    engine.process.kill()
    engine.process.wait()
    held = rig.wait_state("box-1", "held")
    assert "may still run, and could not be ended: Cannot connect" in held["reason"]
    assert "kill 0000" in held["hint"]
    assert "rekindle release box-1" in held["hint"]
    shown = rig.show("box-1")
    assert [a["cause"] for a in shown["attempts"]] == ["crash", "permanent"]
    assert any("could not be ended" in e["data"].get("message", "") for e in shown["events"])
    assert len((engine.folder / "began").read_text().splitlines()) == 1
