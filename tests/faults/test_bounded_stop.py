"""Every stop ends within a bound, whatever became of the keeper that should carry it out.

Public reports of the kind: rfjakob/earlyoom#130 (a stopped process does not take SIGTERM),
Supervisor/supervisor#1073 (a process in STOPPING is never killed), observIQ/stanza#258 (a service
in a bad state holds the shutdown up for ever).
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nights import Night, steps, stolen
from rig import wait_for

from rekindle.daemon.attempts import escalation
from rekindle.daemon.attempts.escalation import Step, due
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.jobs import process
from rekindle.jobs.job import Job
from rekindle.jobs.process import Identity
from rekindle.state.run import journal

pytestmark = pytest.mark.faults

PTRACE = """
import ctypes, os, sys
libc, pid = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for request in (0x4206, 0x4207):  # PTRACE_SEIZE, PTRACE_INTERRUPT
    if libc.ptrace(request, pid, None, None) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(pid, 0x40000000)  # __WALL
print("held", flush=True)
while not os.WIFSIGNALED(os.waitpid(pid, 0x40000000)[1]):
    pass
"""


def keeper(night: Night, job: str = "job-1", attempt: int = 1) -> Identity:
    night.trainer(job, attempt)
    entry = next(e for e in night.entries(job, "attempt_started") if e["attempt"] == attempt)
    return Identity(entry["keeper_pid"], entry["keeper_start"], entry["boot_id"])


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that takes the place of systemd's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def heard(sock: socket.socket) -> list[str]:
    said: list[str] = []
    try:
        while True:
            said += sock.recv(65536).decode().split("\n")
    except BlockingIOError:
        return said


@pytest.mark.parametrize(
    ("who", "way", "state"),
    [
        ("keeper", "cancel", "cancelled"),
        ("keeper", "pause", "waiting"),
        ("keeper", "notice", "queued"),
        ("keeper", "shutdown", "queued"),
        ("trainer", "stop", "held"),
    ],
)
def test_what_was_stopped_by_a_signal_is_woken_and_saves(
    night: Night, who: str, way: str, state: str
) -> None:
    """SIGTERM alone would wait for the SIGCONT that nobody sends."""
    folder = night.submit("job", args="--steps 4000 --every 4000")
    notice = night.work / "notice"
    night.home.config.write_text(f'[preemption]\nnotice_file = "{notice}"\npoll = "100ms"\n')
    daemon = night.start()
    night.step("job-1", 5)
    wait_for(lambda: night.states().get("job-1") == "running", "the ledger knows of it")
    one = keeper(night) if who == "keeper" else night.trainer("job-1", 1)
    assert one.send(signal.SIGSTOP)
    if way in ("stop", "cancel"):
        night.request(way, "job-1")
    elif way == "pause":
        night.cli("pause", "--now")
    elif way == "notice":
        notice.touch()
    else:
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
    wait_for(lambda: night.states()["job-1"] == state, f"it is {state}")
    attempt = night.show("job-1")["attempts"][0]
    assert attempt["exit_code"] == 75
    assert night.entries("job-1", "checkpoint_committed")[-1]["step"] == len(steps(folder))
    assert night.show("job-1")["failures"] == 0
    if way != "shutdown":
        assert night.end() == 0


def test_a_keeper_that_does_not_answer_is_killed_and_said_to_be(
    night: Night, manager: socket.socket
) -> None:
    """Held by a debugger it takes no signal but SIGKILL; the shutdown waits for it no longer than
    the bound, and asks systemd for time no longer, either."""
    if os.geteuid() != 0:
        pytest.skip("a debugger may only hold its own children here")
    folder = night.submit(
        "job", args="--steps 4000 --every 2", spec='[limits]\nstop_grace = "1s"\n'
    )
    daemon = night.start(NOTIFY_SOCKET=str(manager.getsockname()))
    night.step("job-1", 5)
    wait_for(lambda: night.states().get("job-1") == "running", "the ledger knows of it")
    with subprocess.Popen(
        [sys.executable, "-c", PTRACE, str(keeper(night).pid)], stdout=subprocess.PIPE, text=True
    ) as debugger:
        try:
            assert debugger.stdout is not None
            assert debugger.stdout.readline() == "held\n"
            trainer = night.trainer("job-1", 1)
            heard(manager)
            began = time.monotonic()
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(1 + escalation.LONGEST_S + 60) == 0
            took = time.monotonic() - began
        finally:
            debugger.kill()  # it ends by itself only with the keeper
    assert not trainer.alive()
    assert took >= 1 + escalation.BEYOND_GRACE_S[Step.KILL_TRAINER], "saving had less than its time"
    asked = sum("EXTEND_TIMEOUT_USEC" in line for line in heard(manager))
    assert asked > 0
    shown = night.show("job-1")
    assert (shown["state"], shown["failures"]) == ("queued", 0)
    assert shown["attempts"][0]["cause"] == "preempted"
    assert "the daemon killed it" in shown["reason"]
    logged = [e["data"]["step"] for e in shown["events"] if e["kind"] == "attempt_does_not_end"]
    assert logged == ["ask_again", "kill_trainer", "kill_all"]
    before = len(steps(folder))
    night.start()
    wait_for(lambda: len(steps(folder)) > before, "the next daemon resumes it")
    assert night.end() == 0


@pytest.mark.parametrize("way", ["stop", "shutdown"])
def test_leftovers_of_a_killed_keeper_end_while_they_are_asked_to(night: Night, way: str) -> None:
    """They hold the lock, and there is no keeper any more that could be asked."""
    night.submit_command(
        "job",
        "-c",
        "import subprocess; subprocess.call(['sleep', '600'], close_fds=False)",
        spec='[limits]\nstop_grace = "600s"\n',
    )
    daemon = night.start()
    trainer = night.trainer("job-1", 1)
    wait_for(lambda: process.children(trainer.pid), "it has a child")
    wait_for(lambda: night.states().get("job-1") == "running", "the ledger knows of it")
    if way == "stop":
        # while the daemon does not look: the keeper is gone before anybody is asked
        daemon.send_signal(signal.SIGSTOP)
        assert keeper(night).send(signal.SIGKILL)
        night.request("stop", "job-1")
        daemon.send_signal(signal.SIGCONT)
        wait_for(lambda: night.states()["job-1"] == "held", "it is held")
        assert night.end() == 0
    else:
        assert keeper(night).send(signal.SIGKILL)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
    shown = night.show("job-1")
    assert shown["attempts"][0]["outcome"] == "lost"
    assert "leftover_killed" in [e["kind"] for e in shown["events"]]


@pytest.mark.slow  # 35 seconds: the bound itself
def test_what_cannot_be_killed_is_left_to_the_next_daemon(night: Night) -> None:
    """As a process in an endless system call: this daemon ends, the next starts no second one."""
    if os.geteuid() != 0:
        pytest.skip("takes a file descriptor of another process")
    folder = night.submit(
        "job", args="--steps 4000 --every 2", spec='[limits]\nstop_grace = "1s"\n'
    )
    daemon = night.start()
    night.step("job-1", 5)
    wait_for(lambda: night.states().get("job-1") == "running", "the ledger knows of it")
    locks = stolen(keeper(night).pid, night.home.run("job-1").lock)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(1 + escalation.LONGEST_S + 60) == 0
    before = steps(folder)
    night.start()
    # ticks go by: another job is accepted and waits for the place
    night.submit("other", args="--steps 3")
    wait_for(lambda: night.states().get("other-1") == "waiting", "the other job waits")
    assert steps(folder) == before
    os.close(locks)
    wait_for(lambda: len(steps(folder)) > len(before), "it is resumed once the lock is free")
    assert night.end() == 0


def test_a_sigterm_just_after_the_spawn_is_no_failure(night: Night) -> None:
    """The keeper has not come to listen yet; it finds the signal when it does."""
    night.submit_command("job", "-c", "import time; time.sleep(600)")
    daemon = night.start()
    wait_for(
        lambda: (
            night.home.ledger.exists() and night.states().get("job-1") in ("starting", "running")
        ),
        "it is being started",
    )
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0
    shown = night.show("job-1")
    assert (shown["state"], shown["failures"]) == ("queued", 0), shown["reason"]


def test_a_keeper_asked_to_end_before_it_listens_starts_nothing(tmp_path: Path) -> None:
    """And writes that it was asked: nobody has to guess."""
    run = Night(tmp_path / "home", tmp_path / "work").home.run("a-1")
    run.root.mkdir()
    job = Job(name="a", id="a-1", workdir=str(tmp_path), command=["touch", f"{tmp_path}/started"])
    run.job_file.write_text(job.to_json())
    launcher = Launcher()
    one = launcher.start(run, 1)
    assert one is not None
    assert one.send(signal.SIGTERM)
    wait_for(lambda: not launcher.alive(run), "it ends")
    entries = journal.replay(run.journal).entries
    assert [(e["kind"], e.get("cause")) for e in entries] == [("attempt_ended", "preempted")]
    assert not (tmp_path / "started").exists()


def kill_all(night: Night, attempt: int) -> None:
    """Kill a container as the kernel does: SIGKILL for every process in it."""
    trainer, one = night.trainer("job-1", attempt), keeper(night, attempt=attempt)
    night.end(signal.SIGKILL)
    one.send(signal.SIGKILL)
    wait_for(lambda: not (trainer.alive() or one.alive()), "all is dead")


def test_a_container_that_is_killed_costs_no_failure_until_it_does_so_again(night: Night) -> None:
    """The boot is the same, and nobody was left to say how it ended."""
    night.submit("job", args="--steps 4000 --every 4000")
    night.start()
    kill_all(night, 1)
    night.start()
    kill_all(night, 2)
    shown = night.show("job-1")
    assert shown["attempts"][0]["cause"] == "interrupted"
    assert shown["failures"] == 0
    # without a checkpoint in between it may be the job that takes the container with it
    night.start()
    wait_for(lambda: len(night.show("job-1")["attempts"]) == 3, "the third one starts")
    reasons = [
        e["data"]["reason"] for e in night.show("job-1")["events"] if e["kind"] == "job_waiting"
    ]
    assert any("failure 2 of 5" in reason for reason in reasons), reasons
    assert night.end() == 0


def test_a_keeper_that_is_killed_while_no_daemon_lives_is_a_failure(night: Night) -> None:
    """The daemon had ended by itself: nothing says that the container was killed."""
    night.submit("job", args="--steps 4000 --every 4000")
    night.start()
    night.step("job-1", 3)
    night.end(signal.SIGHUP)
    assert keeper(night).send(signal.SIGKILL)
    night.start()
    wait_for(lambda: len(night.show("job-1")["attempts"]) == 2, "it is tried again")
    shown = night.show("job-1")
    assert (shown["attempts"][0]["cause"], shown["failures"]) == ("lost", 1)
    assert night.end() == 0


@pytest.mark.parametrize(
    ("waited", "step"),
    [
        (0, Step.ASK),
        (10, Step.ASK),
        (21.9, Step.ASK),
        (22, Step.ASK_AGAIN),
        (27, Step.KILL_TRAINER),
        (32, Step.KILL_ALL),
        (42, Step.GIVE_UP),
        (1e6, Step.GIVE_UP),
    ],
)
def test_each_step_is_due_at_its_time_after_the_grace(waited: float, step: Step) -> None:
    """Never within the time that a trainer has for saving and its keeper for ending it."""
    assert due(waited, 10) == step
