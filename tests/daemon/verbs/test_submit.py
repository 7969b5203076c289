"""`submit` needs a live daemon, unless `--queue` is given; no spec is lost or doubled.

Kinds of source: jobs submitted to a queue that no daemon serves, which "succeed" and never run.
"""

import signal
from pathlib import Path

import pytest
from rig import Rig, wait_for

from rekindle.daemon.client import cli
from rekindle.daemon.verbs import submit


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    made = tmp_path / "it.toml"
    made.write_text(f'command = ["true"]\nworkdir = "{tmp_path}"\n')
    return made


def test_without_a_daemon_nothing_is_written(
    tmp_path: Path, spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and the way on; no home is made."""
    monkeypatch.setattr(submit, "_STARTS_S", 0.3)
    home = tmp_path / "none"
    assert cli.main(["--home", str(home), "submit", str(spec)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "nothing was submitted" in said.err
    assert f"`rekindle --home {home} run` starts one" in said.err
    assert not home.exists()


def test_queue_leaves_the_spec_for_the_next_daemon(rig: Rig, spec: Path) -> None:
    """The hint of the refusal, followed."""
    assert "it.toml waits in the inbox for a daemon" in rig.cli("submit", "--queue", str(spec))
    assert rig.start("--until-idle").wait(60) == 0
    assert [job["id"] for job in rig.ls()] == ["it-1"]


def test_a_daemon_that_is_restarted_is_waited_for(
    rig: Rig, spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A restart of the service in progress is no reason to refuse: the daemon starts meanwhile."""
    monkeypatch.setattr(submit, "_STARTS_S", 60.0)
    started = []

    def nap(seconds: float) -> None:
        if not started:
            started.append(rig.start())
        wait_for(rig.home.daemon_status.exists, "the daemon is up")

    monkeypatch.setattr(submit, "_nap", nap)
    assert cli.main(["--home", str(rig.home.root), "submit", str(spec)]) == 0
    assert started, "it did not wait"
    assert "it-1 is accepted" in capsys.readouterr().out


@pytest.mark.slow
def test_a_daemon_that_ends_before_it_accepts_is_named(
    rig: Rig, spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The spec stays; exit code 0, since a second `submit` would make a second job."""
    daemon = rig.start()
    wait_for(rig.home.daemon_status.exists, "the daemon is up")
    daemon.send_signal(signal.SIGSTOP)

    def nap(seconds: float) -> None:
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait()

    monkeypatch.setattr(submit, "_nap", nap)
    assert cli.main(["--home", str(rig.home.root), "submit", str(spec)]) == 0
    said = capsys.readouterr().out
    assert "the daemon ended before it accepted it" in said
    assert (rig.home.inbox / "it.toml").exists()
    assert rig.start("--until-idle").wait(60) == 0
    assert [job["id"] for job in rig.ls()] == ["it-1"]
