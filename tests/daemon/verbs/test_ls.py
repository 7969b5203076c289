"""`ls` says in the morning what matters, at any number of jobs, and cuts nothing that is copied.

Kinds of source: queues of shell commands or experiments whose status takes minutes with hundreds of
jobs or is longer than the terminal's memory, and whose users ask for totals that a script can find.
"""

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, environment, wait_for

from rekindle.daemon.client import cli, json_text, live
from rekindle.daemon.client.progress import rounded
from rekindle.daemon.verbs import ls, show
from rekindle.jobs import heartbeat
from rekindle.jobs.heartbeat import Plan
from rekindle.state import durable, lock
from rekindle.state.errors import LedgerCorrupt
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.listing import Listing
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home

LONG = "long-name-of-a-job-with-as-many-letters-as-a-name-may-have-64-in"
REASON = "It failed twice at the same batch (epoch 3, step 1400): ValueError: the shapes differ."
MANY = 40


class Night:
    """Fill a ledger with jobs in given states."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.ledger = Ledger.open(home.ledger)

    def add(
        self,
        name: str,
        *way: str,
        number: int = 1,
        priority: int = 0,
        reason: str = "",
        **last: Any,
    ) -> str:
        job = f"{name}-{number}"
        self.home.run(job).root.mkdir()
        self.ledger.insert_job(
            job,
            name=name,
            number=number,
            run_dir=str(self.home.run(job).root),
            priority=priority,
            spec="{}",
            claim=job,
            submitted_at=time.time(),
        )
        for step in way:
            if step == "starting":
                row = self.ledger.job(job)
                assert row is not None
                self.ledger.begin_attempt(job, row.attempts + 1, time.time())
            fields = last if step == way[-1] else {}
            self.ledger.set_state(job, JobState(step), reason, now=time.time(), **fields)
        return job

    def end(self, job: str, cause: str) -> None:
        row = self.ledger.job(job)
        assert row is not None
        now = time.time()
        self.ledger.update_attempt(job, row.attempts, outcome=cause, cause=cause, ended_at=now)


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    home = Home(tmp_path / "home")
    home.create()
    made = Night(home)
    yield made
    made.ledger.close()


def listed(night: Night, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["--home", str(night.home.root), "ls", *words]) == 0
    return capsys.readouterr().out


def ids(text: str) -> list[str]:
    return re.findall(r"^([a-z0-9-]+-\d+)  ", text, re.MULTILINE)


def test_of_many_jobs_those_that_matter_are_listed(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    """Held and failed ones, the newest that are done, running ones, the next of the queue in its
    order; each line about the others has a command that lists them."""
    with night.ledger.transaction():
        for n in range(MANY):
            night.add(f"w{n}", "waiting", priority=5 if n == MANY - 1 else 0)
            night.add(f"d{n}", "starting", "done")
        night.add("held", "held", hint="`rekindle release` resumes it.")
        night.add("broken", "starting", "failed")
        night.add("runs", "starting", "running")
    said = listed(night, capsys)
    assert ids(said)[:2] == ["held-1", "broken-1"]
    assert ids(said)[12] == "runs-1"
    sums = f"In all: 1 held, 1 failed, {MANY} done, 1 running, {MANY} waiting."
    assert sums in said.splitlines()
    waiting = [job for job in ids(said) if job.startswith("w")]
    assert waiting == [f"w{MANY - 1}-1", *(f"w{n}-1" for n in range(9))]
    assert [job for job in ids(said) if job.startswith("d")] == [
        f"d{n}-1" for n in range(MANY - 10, MANY)
    ]
    commands = re.findall(r"(\d+) more (\w+): `rekindle --home \S+ (ls [^`]*)`", said)
    assert {(count, state) for count, state, _ in commands} == {
        (str(MANY - 10), "waiting"),
        (str(MANY - 10), "done"),
    }
    for _, _, command in commands:
        assert len(ids(listed(night, capsys, *shlex.split(command)[1:]))) == MANY
    assert len(listed(night, capsys, "--quiet").splitlines()) == 2 * MANY + 3
    assert listed(night, capsys, "--quiet", "--state", "held") == "held-1\n"
    assert ids(listed(night, capsys, "w7")) == ["w7-1"]


def test_no_job_is_left_out_without_a_word(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    """Jobs that were held after a crash in the night, before many that a person held."""
    for n in range(6):
        job = night.add(f"c{n}", "starting", "running", "stopping", "held")
        night.end(job, "crash")
    for n in range(20):
        night.add(f"p{n}", "held")
    said = listed(night, capsys)
    left_out = re.findall(r"(\d+) more held", said)
    assert len(ids(said)) + sum(map(int, left_out)) == 26


def test_a_name_and_a_state_select_before_the_list_is_cut(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    with night.ledger.transaction():
        for n in range(1, 71):
            night.add("s", "held" if n == 1 else "waiting", number=n)
    assert ids(listed(night, capsys, "s", "--state", "held")) == ["s-1"]


def test_a_damaged_ledger_is_an_error_and_no_traceback(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    with night.ledger.transaction():
        for n in range(200):
            night.add(f"w{n}", "waiting")
    night.ledger.close()
    content = bytearray(night.home.ledger.read_bytes())
    for page in range(4096, len(content), 4096):
        content[page : page + 64] = bytes(range(64))
    night.home.ledger.write_bytes(content)
    code = cli.main(["--home", str(night.home.root), "ls"])
    assert code == LedgerCorrupt.exit_code
    assert "verify --rebuild`" in capsys.readouterr().err


def test_what_is_read_is_bounded_by_indexes(night: Night) -> None:
    """No statement of `ls` or `show` sorts a table, or reads one that it does not print."""
    job = night.add("a", "starting", "running")
    book = Listing.open(night.home.ledger, readonly=True)
    row = book.job(job)
    assert row is not None
    said: list[str] = []
    book._db.set_trace_callback(said.append)
    args = cli._parser(["ls"]).parse_args(["ls"])
    ls._select(book, args)
    book.in_line(JobState.WAITING, 10)
    book.latest_changes(JobState.DONE, 10)
    book.latest(row)
    book.seconds_of_epoch(job, 0)
    book.named("a", 10)
    book.newest_named("a")
    book.newest_epochs(job, 12)
    book.sample_epochs(job, 0, 64)
    book.newest_attempts(job, 20)
    book.events_of_kinds(job, frozenset({"warned"}), 8)
    book.events(kind="spec_rejected", newest=200)
    book.job_of_file(1234, 5)
    book._db.set_trace_callback(None)
    assert len(said) > 15
    for sql in said:
        for step in book._db.execute(f"EXPLAIN QUERY PLAN {sql}"):
            text = str(step["detail"])
            # the counts by state read an index; the causes are those of one job
            allowed = text.startswith("SCAN jobs USING COVERING INDEX") and "count(*)" in sql
            allowed = allowed or ("GROUP BY cause" in sql and text.startswith("USE TEMP"))
            assert allowed or not re.match("SCAN|USE TEMP B-TREE", text), (sql, text)
    book.close()


def test_show_reads_what_it_prints_and_streams_its_json(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of twenty thousand epochs twelve, and 64 for the curve; the JSON never as a whole."""
    job = night.add("a", "starting", "done")
    count = 20_000
    with night.ledger.transaction():
        night.ledger._db.executemany(
            "INSERT INTO epochs VALUES ('a-1', 0, ?, ?, 1.0, ?, 1, 1.0)",
            ((n, 10 * n, '{"loss": NaN}' if n == 5 else '{"loss": 0.5}') for n in range(count)),
        )
    assert cli.main(["--home", str(night.home.root), "show", "a"]) == 0
    said = capsys.readouterr().out
    assert f"and {count - 12} earlier: --all" in said
    assert re.search(rf"^{count} +{10 * (count - 1)} ", said, re.MULTILINE)  # the first is 1
    book = Listing.open(night.home.ledger, readonly=True)
    row = book.job(job)
    assert row is not None
    sampled = [one.epoch for one in book.sample_epochs(job, 0, 64)]
    assert (len(sampled), sampled[0], sampled[-1]) == (64, 0, count - 1)

    class Sink(io.StringIO):
        """Forget what is written, but for its beginning."""

        size = 0
        begun = ""

        def write(self, text: str) -> int:
            self.size += len(text)
            self.begun = self.begun if len(self.begun) > 2000 else self.begun + text
            return len(text)

    sink = Sink()
    tracemalloc.start()
    json_text.write(show.as_json(night.home, book, row), out=sink)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sink.size > 90 * count
    assert peak < 2**20, f"{peak} bytes for {count} epochs"
    assert '"epoch": 5, "step": 50, "seconds": 1.0, "attempt": 1, "logs": {"loss": "NaN"}' in (
        sink.begun
    )
    book.close()
    assert cli.main(["--home", str(night.home.root), "show", "a", "--json", "--epochs", "3"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [one["epoch"] for one in shown["epochs"]] == [count - 3, count - 2, count - 1]


def test_a_job_that_was_interrupted_in_the_night_is_marked(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it is done and many jobs have ended since; a stop of a person is none."""
    jobs = {}
    for name, causes in (("cut", ["crash", "preempted", "crash"]), ("asked", ["stopped"])):
        jobs[name] = night.add(name)
        for number, cause in enumerate([*causes, "done"], 1):
            night.ledger.begin_attempt(jobs[name], number, time.time())
            night.ledger.update_attempt(
                jobs[name], number, outcome=cause, cause=cause, ended_at=time.time()
            )
        night.ledger.set_state(jobs[name], JobState.STARTING, "", now=time.time())
        night.ledger.set_state(jobs[name], JobState.DONE, "It is done.", now=time.time())
    for n in range(30):
        night.add(f"other{n}", "cancelled")
        night.add(f"more{n}", "starting", "done")
    lines = listed(night, capsys).splitlines()
    [line] = [line for line in lines if line.startswith("cut-1 ")]
    assert line.split()[:3] == ["cut-1", "done", "4"]
    assert "Interrupted 3 times and started again: 2 x crash, preempted." in line
    assert "Interrupted" not in "".join(line for line in lines if line.startswith("asked"))
    assert cli.main(["--home", str(night.home.root), "ls", "cut", "--json"]) == 0
    [job] = json.loads(capsys.readouterr().out)["jobs"]
    assert job["interruptions"] == {"crash": 2, "preempted": 1}


def test_a_running_job_says_how_far_it_is(night: Night, capsys: pytest.CaptureFixture[str]) -> None:
    """By its heartbeat, as Keras counts for people; in JSON the epoch is 0-based."""
    job = night.add("far", "starting", "running")
    now = time.time()
    entry = {"v": 1, "t": now, "attempt": 1, "stage": 0}
    night.ledger.ingest(
        job,
        [
            {**entry, "kind": "resumed", "epoch": 0, "step": 0, "checkpoint": None, "epochs": 40},
            *(
                {**entry, "kind": "epoch_ended", "epoch": n, "step": 9, "seconds": 30.0, "logs": {}}
                for n in range(26)
            ),
        ],
        0,
    )
    heartbeat.Heartbeat(night.home.run(job).heartbeat, 1).beat("step", 26, 1400)
    assert re.search("  epoch 27 of 40 .* About 7 min left.", listed(night, capsys))
    assert cli.main(["--home", str(night.home.root), "ls", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["jobs"]
    assert (found["epoch"], found["epochs"], found["step"]) == (26, 40, 1400)
    assert 380 < found["left_seconds"] <= 420
    night.end(job, "done")
    night.ledger.set_state(job, JobState.DONE, "", now=time.time())
    assert "26 of 40 epochs" in listed(night, capsys)


def begun(night: Night, name: str, **receipt: Any) -> str:
    """Add a running job whose first attempt has a receipt."""
    job = night.add(name, "starting", "running")
    entry = {"v": 1, "t": time.time(), "attempt": 1, "stage": 0, "epoch": 0, "step": 0}
    night.ledger.ingest(job, [{**entry, "kind": "resumed", "checkpoint": None, **receipt}], 0)
    return job


def test_bar_and_estimate_follow_the_median_step(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each number from what the trainer knows; a validation is part of an epoch's time."""
    job = begun(night, "far", epochs=40, steps_per_epoch=100)
    beats = heartbeat.Heartbeat(night.home.run(job).heartbeat, 1)
    beats.beat("step", 10, 1050, epoch_step=50, plan=Plan(40, 100), pace=0.1)
    assert re.search(r"  epoch 11 of 40 \(26 %\)  .*  About 5 min left.", listed(night, capsys))
    assert cli.main(["--home", str(night.home.root), "show", job]) == 0
    said = capsys.readouterr().out
    assert f"{'█' * 7}{'░' * 23} 26 %, epoch 11 of 40, step 50 of 100, 100 ms a step." in said
    found = read(night, capsys)
    assert (found["epoch_step"], found["steps_per_epoch"], found["steps"]) == (50, 100, 4000)
    assert (found["fraction"], found["step_seconds"]) == (0.2625, 0.1)
    assert found["left_seconds"] == pytest.approx(295)
    entry = {"v": 1, "t": time.time(), "attempt": 1, "stage": 0, "kind": "epoch_ended", "logs": {}}
    night.ledger.ingest(job, [{**entry, "epoch": 9, "step": 1000, "seconds": 25.0}], 0)
    assert read(night, capsys)["left_seconds"] == pytest.approx(295 + 30 * 15)


def test_what_is_not_known_of_a_training_is_said(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    """A generator has no length, and a loop over steps no epochs."""
    job = begun(night, "generator", epochs=40)
    beats = heartbeat.Heartbeat(night.home.run(job).heartbeat, 1)
    beats.beat("step", 10, 1050, epoch_step=50, plan=Plan(40), pace=0.1)
    assert cli.main(["--home", str(night.home.root), "show", job]) == 0
    assert "epoch 11 of 40, step 50 of an epoch of unknown length" in capsys.readouterr().out
    found = read(night, capsys)
    assert (found["steps_per_epoch"], found["steps"], found["left_seconds"]) == (None, None, None)
    beats.beat("step", 0, 300, epoch_step=300, plan=Plan(None, 1200), pace=0.5)
    assert re.search(r"  step 300 of 1200 \(25 %\)  .*  About 8 min left.", listed(night, capsys))
    beats.beat("step", 0, 300, stage=1, epoch_step=300, pace=0.5)
    assert "  step 300 of ?  " in listed(night, capsys)


def read(night: Night, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Read the only job from `ls --json`."""
    assert cli.main(["--home", str(night.home.root), "ls", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["jobs"]
    return dict(found)


def test_watch_draws_in_place_and_says_what_does_not_fit() -> None:
    """A long line takes several rows; colours take none."""
    lines = ["12:00:00", "\x1b[32m" + "x" * 40 + "\x1b[0m", "y" * 41, "z"]
    drawn = live.on_screen(lines, 40, 5)
    assert drawn.count("\x1b[K") == 4
    assert "more line" not in drawn
    assert live.on_screen(lines, 40, 4).split("\x1b[K")[2] == "\r\n... 2 more lines"
    assert (
        live.on_screen([str(n) for n in range(90)], 40, 4)
        .split("\x1b[K")[3]
        .endswith("... 87 more lines")
    )


def test_watch_lists_until_ctrl_c(night: Night) -> None:
    """Into a pipe page by page, and it ends with success."""
    night.add("one", "waiting")
    words = ["--home", str(night.home.root), "ls", "--watch", "0.2"]
    with subprocess.Popen(
        [sys.executable, "-m", "rekindle.daemon", *words],
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as child:
        assert child.stdout is not None
        pages = 0
        for line in child.stdout:
            if line.startswith("one-1 "):
                pages += 1
                if pages == 1:
                    night.add("two", "held")
            if line.startswith("two-1 "):
                child.send_signal(signal.SIGINT)
                break
        child.stdout.read()
        assert child.wait(30) == 0
    assert pages >= 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (61, "61 s"),
        (95, "2 min"),
        (5000, "83 min"),
        (9000, "2 h"),
        (200000, "2 days"),
    ],
)
def test_an_estimate_is_rounded(seconds: float, text: str) -> None:
    assert rounded(seconds) == text


def test_a_pause_a_refusal_and_a_daemon_that_starts_are_reported(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with the command or the edit that helps; in JSON as well."""
    home = night.home
    (home.rejected / "typo.toml").write_text("x")
    for name, age in (("typo.toml", 60.0), ("removed.toml", 60.0), ("old.toml", 9e6)):
        night.ledger.add_event(
            "spec_rejected",
            data={"file": name, "error": f"Unknown key in {name}.", "hint": "Did you mean `args`?"},
            at=time.time() - age,
        )
    decided = {"format": 1, "paused": True, "since": time.time() - 7200, "by": "ana"}
    durable.write_json(home.queue, decided)
    said = listed(night, capsys)
    assert re.search(r"Refused: typo.toml \([\d :-]+\) Unknown key in typo.toml.\n", said)
    assert "hint: Did you mean `args`?" in said
    assert "removed.toml" not in said
    assert "old.toml" not in said
    assert re.search(r"The queue is paused since [\d :-]+, by ana: `rekindle .*resume`", said)
    assert "No daemon is running" in said
    held = lock.take(home.daemon_lock, 0o644)
    assert held is not None
    said = listed(night, capsys)
    assert f"The daemon (process {os.getpid()}) is starting." in said
    assert "No daemon" not in said
    assert cli.main(["--home", str(home.root), "ls", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    lock.release(held)
    assert value["starting"] == {"pid": os.getpid(), "waits_for_space": False}
    assert value["queue"]["paused"] is True
    assert value["queue"]["by"] == "ana"
    assert [one["file"] for one in value["refused"]] == ["typo.toml"]


def test_the_daemon_records_who_paused_the_queue(rig: Rig) -> None:
    """By the owner of the request's file."""
    rig.start()
    wait_for(rig.home.daemon_status.exists, "the daemon is up")
    rig.cli("pause")
    by = json.loads(rig.cli("ls", "--json"))["queue"]["by"]
    assert by == Path(rig.home.root).owner()
    rig.cli("resume")
    assert json.loads(rig.cli("ls", "--json"))["queue"] == {
        "paused": False,
        "since": None,
        "by": None,
    }


def on_terminal(home: Home, columns: int, *words: str, **env: str) -> str:
    """Run a verb on a terminal of so many columns; return what it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    plain = {k: v for k, v in environment().items() if k not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "rekindle.daemon", "--home", str(home.root), *words],
        stdout=theirs,
        stderr=theirs,
        env={**plain, "TERM": "xterm-256color", **env},
    )
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # the terminal's other side is closed
        while chunk := os.read(ours, 65536):
            written += chunk
    os.close(ours)
    assert process.wait(60) == 0
    return written.decode()


def test_on_a_terminal_nothing_is_cut_that_is_copied(night: Night) -> None:
    """At 80 and 120 columns: ids, reasons and hints stand on one line each, as the terminal has it;
    in a pipe each job is one line without colours."""
    hint = (
        f"Correct the data, then `rekindle release` resumes it from its latest checkpoint{'.' * 3}"
    )
    job = night.add(LONG, "held", reason=f"{REASON}\n\x1b[31mred", hint=hint)
    night.add("short", "held", reason="So.")
    whole = hint.replace("`rekindle release`", f"`rekindle --home {night.home.root} release {job}`")
    for columns in (80, 120):
        written = on_terminal(night.home, columns, "ls")
        assert "\x1b[1;33mheld" in written
        assert "\x1b[31m" not in written  # what a script wrote is not carried out
        lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in written.splitlines()]
        assert re.match(r" +held +0 +- ", lines[lines.index(job) + 1])
        assert re.match(r"short-1 +held +0 +- ", next(li for li in lines if "short" in li))
        assert f"    {REASON} \\x1b[31mred" in lines
        assert f"    hint: {whole}" in lines
        shown = on_terminal(night.home, columns, "show", job)
        assert whole in re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert "\x1b" not in on_terminal(night.home, 80, "ls", NO_COLOR="1")
    assert "\x1b" not in on_terminal(night.home, 80, "ls", TERM="dumb")
    piped = subprocess.run(
        [sys.executable, "-m", "rekindle.daemon", "--home", str(night.home.root), "ls"],
        capture_output=True,
        text=True,
        env=environment(COLUMNS="40"),
        check=True,
    ).stdout
    [line] = [line for line in piped.splitlines() if line.startswith(job)]
    assert REASON in line
    assert line.endswith(f"hint: {whole}")
    assert "\x1b" not in piped
