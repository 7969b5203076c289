"""A spec with a grid becomes all of its jobs, each once, or none of them."""

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rekindle.daemon.intake.inbox import Inbox, Scan
from rekindle.daemon.spec import grid, parse
from rekindle.daemon.verify import rebuild
from rekindle.jobs.job import Job
from rekindle.state import durable
from rekindle.state.errors import SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

GRID = b"""command = ["train"]
workdir = "/"
[grid]
lr = [0.1, 0.01]
units = [32, 64, 128]
"""
LATER = 30.0
POINTS = [(lr, units) for lr in (0.1, 0.01) for units in (32, 64, 128)]


class Killed(BaseException):
    """Stands for SIGKILL at a commit point: nothing after it happens."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


@pytest.fixture
def ledger(home: Home) -> Iterator[Ledger]:
    opened = Ledger.open(home.ledger)
    yield opened
    opened.close()


def settled(inbox: Inbox) -> Scan:
    first = inbox.scan(0.0)
    second = inbox.scan(LATER)
    return replace(
        second, accepted=first.accepted + second.accepted, rejected=first.rejected + second.rejected
    )


def restarted(home: Home, ledger: Ledger) -> Scan:
    inbox = Inbox(home, ledger)
    inbox.recover()
    try:
        return settled(inbox)
    finally:
        inbox.close()


def commands(*lines: str, args: str = "") -> list[list[str]]:
    text = "\n".join((f'script = "{Path(__file__).name}"', args, "[grid]", *lines))
    return [job.args for job in parse.parse_all(text.encode(), "a.toml", Path(__file__).parent)]


def test_each_point_is_a_job_with_its_arguments(home: Home, ledger: Ledger) -> None:
    (home.inbox / "sweep.toml").write_bytes(GRID)
    ids = [f"sweep-{n}" for n in range(1, 7)]
    assert restarted(home, ledger).accepted == ids
    for one, (lr, units), number in zip(ledger.jobs(), POINTS, range(1, 7), strict=True):
        job = Job.read(home.run(one.id).job_file)
        assert job.command == ["train", "--lr", str(lr), "--units", str(units)]
        assert job.grid is not None
        assert (job.grid.grid, job.grid.number, job.grid.of) == (one.grid, number, 6)
        assert one.point == job.grid.values == {"lr": lr, "units": units}
        assert one.point_text == f"lr={lr} units={units}"
    assert [one.id for one in ledger.jobs(grid=ledger.jobs()[0].grid)] == ids
    assert list(home.claimed.iterdir()) == []


def test_two_files_are_two_grids(home: Home, ledger: Ledger) -> None:
    """Also where the content is the same: both were handed in."""
    (home.inbox / "sweep.toml").write_bytes(GRID)
    (home.inbox / "sweep.yaml").write_bytes(
        b"command: [train]\nworkdir: /\ngrid: {lr: [1], units: [2, 3]}\n"
    )
    restarted(home, ledger)
    by_grid: dict[str | None, list[str]] = {}
    for job in ledger.jobs():
        by_grid.setdefault(job.grid, []).append(job.id)
    assert sorted(by_grid.values()) == [[f"sweep-{n}" for n in range(1, 7)], ["sweep-7", "sweep-8"]]


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize(
    "point",
    "before_claim claimed before_accept grids_decided run_named accepted known finished".split(),
)
def test_a_kill_at_any_commit_point_makes_each_point_one_job(
    home: Home, ledger: Ledger, point: str, times: int
) -> None:
    """`run_named` is reached once for each job: the kill comes between the first or later ones."""
    (home.inbox / "sweep.toml").write_bytes(GRID)
    passed = []

    def die(name: str) -> None:
        if name == point:
            passed.append(name)
            if len(passed) == times or name != "run_named":
                raise Killed

    with pytest.raises(Killed):
        settled(Inbox(home, ledger, crash_point=die))
    restarted(home, ledger)
    restarted(home, ledger)

    assert [job.point for job in ledger.jobs()] == [
        {"lr": lr, "units": units} for lr, units in POINTS
    ]
    assert len({job.grid for job in ledger.jobs()}) == 1
    assert sorted(os.listdir(home.runs)) == sorted(job.id for job in ledger.jobs())
    assert list(home.claimed.iterdir()) == []


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_kill_while_killed_grids_are_finished(home: Home, ledger: Ledger, after: int) -> None:
    """The next daemon may die at the same place: what is decided stays decided."""
    (home.inbox / "sweep.toml").write_bytes(GRID)

    def die(name: str) -> None:
        if name == "grids_decided":
            raise Killed

    with pytest.raises(Killed):
        settled(Inbox(home, ledger, crash_point=die))
    renamed = []
    real = os.rename

    def rename(old: str, new: str) -> None:
        renamed.append(old)
        if len(renamed) > after:
            raise Killed
        real(old, new)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", rename)
        with pytest.raises(Killed):
            restarted(home, ledger)
    restarted(home, ledger)
    assert [job.point_text for job in ledger.jobs()] == [f"lr={a} units={b}" for a, b in POINTS]
    assert sorted(os.listdir(home.runs)) == sorted(job.id for job in ledger.jobs())


def test_a_full_disk_accepts_all_points_or_none(
    home: Home, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.inbox / "sweep.toml").write_bytes(GRID)
    inbox = Inbox(home, ledger)
    real, written = durable.write_new, []

    def full(path: Path, *args: object) -> None:
        written.append(path)
        if len(written) > 7:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_new", full)
        assert settled(inbox).accepted == []
    assert ledger.jobs() == []
    assert inbox.pending()
    settled(inbox)
    assert len(ledger.jobs()) == 6
    assert sorted(os.listdir(home.runs)) == sorted(job.id for job in ledger.jobs())


def test_a_limit_of_waiting_jobs_counts_every_point(home: Home, ledger: Ledger) -> None:
    (home.inbox / "sweep.toml").write_bytes(GRID)
    inbox = Inbox(home, ledger, max_waiting=5)
    assert settled(inbox).rejected == ["sweep.toml"]
    assert "this grid has 6 points" in (home.rejected / "sweep.toml.error.txt").read_text()
    assert ledger.jobs() == []
    (home.inbox / "sweep.toml").write_bytes(GRID)
    assert len(settled(Inbox(home, ledger, max_waiting=6)).accepted) == 6


def test_a_late_write_holds_every_point(home: Home, ledger: Ledger) -> None:
    """The program that wrote the spec had it open as it was claimed, and writes on."""
    writer: list[int] = []

    def reached(point: str) -> None:
        if point == "before_claim":
            writer.append(os.open(home.inbox / "sweep.toml", os.O_WRONLY | os.O_APPEND))

    (home.inbox / "sweep.toml").write_bytes(GRID)
    inbox = Inbox(home, ledger, crash_point=reached)
    began = time.monotonic()
    assert len(settled(inbox).accepted) == 6
    os.write(writer[0], b"batch = [8]\n")
    inbox.check_accepted(began + 10)
    assert {job.state for job in ledger.jobs()} == {"held"}
    os.close(writer[0])
    inbox.check_accepted(began + 20)
    inbox.check_accepted(began + 30)
    reason = (home.rejected / "sweep.toml.error.txt").read_text()
    assert "accepted as sweep-1, sweep-2" in reason
    assert "grid.batch" in reason
    assert {job.state for job in ledger.jobs()} == {"held"}
    inbox.close()


def test_a_rebuilt_ledger_knows_the_grids(home: Home, ledger: Ledger) -> None:
    (home.inbox / "sweep.toml").write_bytes(GRID)
    restarted(home, ledger)
    before = [(job.id, job.grid, job.point) for job in ledger.jobs()]
    ledger.close()
    rebuild.rebuild(home)
    again = Ledger.open(home.ledger)
    assert [(job.id, job.grid, job.point) for job in again.jobs()] == before
    again.close()


def test_arguments_are_what_argparse_reads() -> None:
    """The own arguments first; true alone, false nothing, a value like an option behind `=`."""
    assert commands("lr = [1e-3]", "warm-up = [true, false]", args='args = ["--epochs", "2"]') == [
        ["--epochs", "2", "--lr", "0.001", "--warm-up"],
        ["--epochs", "2", "--lr", "0.001"],
    ]
    assert commands('x = [-1, "-y", "", "a b", "true"]') == [
        ["--x=-1"],
        ["--x=-y"],
        ["--x="],
        ["--x", "a b"],
        ["--x", "true"],
    ]


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("lr = 0.1", "must be a list", "`args`"),
        ("lr = []", "has no value", "remove the line"),
        ("lr = [0.1, 0.10]", "0.1 twice", "trained once"),
        ("lr = [[1]]", "a value that is a list", "one text"),
        ("lr = [nan]", "the value nan", '"nan"'),
        ("lr = [1979-05-27]", "a value that is a date", "texts"),
        ('"--lr" = [1]', "cannot be the name of an option", "without its `--`"),
    ],
)
def test_a_wrong_grid_is_refused_with_its_line(line: str, what: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        commands(line)
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert str(caught.value.where) == "a.toml:4"


def test_too_many_points_are_refused_before_they_are_made() -> None:
    some = ", ".join(map(str, range(100)))
    with pytest.raises(SpecError) as caught:
        commands(*(f"p{n} = [{some}]" for n in range(9)))
    assert f"the limit is {grid.MOST_POINTS}" in caught.value.what
    assert str(caught.value.where) == "a.toml:3"
    half = ", ".join(map(str, range(grid.MOST_POINTS // 2)))
    assert len(commands(f"p = [{half}]", "q = [true, false]")) == grid.MOST_POINTS


def test_a_section_without_parameters_is_one_job() -> None:
    """`rekindle init` writes one, with an example behind a `#`."""
    assert commands() == [[]]
