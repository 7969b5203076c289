"""A grid from the command line to the morning: submitted once, listed, compared in one table."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig, wait_for

from rekindle.daemon.client import cli
from rekindle.daemon.report import facts, page, summary
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.period import Period
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home

LOSSES = {0.1: 0.5, 0.01: 0.25, 0.001: None}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Fill a home with a grid: two jobs with losses, one that waits; and a job without a grid."""
    made = Home(tmp_path / "home")
    made.create()
    book = Ledger.open(made.ledger)
    now = time.time()
    for number, (lr, loss) in enumerate(LOSSES.items(), 1):
        job = f"sweep-{number}"
        book.insert_job(
            job,
            name="sweep",
            number=number,
            run_dir=str(made.run(job).root),
            priority=0,
            spec=json.dumps({"script": "t.py", "grid": {"number": number, "of": 3}}),
            claim=job,
            submitted_at=now,
            grid="the grid",
            point=json.dumps({"lr": lr, "warm": number == 1}),
        )
        if loss is None:
            continue
        book.begin_attempt(job, 1, now)
        ended = {"kind": "epoch_ended", "v": 1, "t": now, "stage": 0, "attempt": 1, "seconds": 1.0}
        logs = [
            {**ended, "epoch": epoch, "step": 10 * epoch, "logs": {"loss": value}}
            for epoch, value in enumerate((loss + 1, loss, loss + 0.5))
        ]
        book.ingest(job, logs, 1)
        for state in (JobState.STARTING, JobState.DONE):
            book.set_state(job, state, "It has ended.", now=now)
    book.insert_job(
        "plain-1",
        name="plain",
        number=1,
        run_dir=str(made.run("plain-1").root),
        priority=0,
        spec="{}",
        claim="plain-1",
        submitted_at=now,
    )
    book.close()
    yield made


def said(home: Home, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["--home", str(home.root), *words]) == 0
    return capsys.readouterr().out


def test_ls_has_a_column_where_any_job_has_a_point(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    header, *rows = said(home, capsys, "ls", "--all").splitlines()
    assert header.split() == ["job", "point", "state", "attempts", "progress", "since", "why"]
    assert [row.split("  ")[1].strip() for row in rows[:4]] == [
        "lr=0.1 warm=true",
        "lr=0.01 warm=false",
        "lr=0.001 warm=false",
        "-",
    ]
    assert "point" not in said(home, capsys, "ls", "plain").splitlines()[0]
    found = json.loads(said(home, capsys, "ls", "--json"))["jobs"]
    assert [(one["grid"], one["point"]) for one in found[2:]] == [
        ("the grid", {"lr": 0.001, "warm": False}),
        (None, None),
    ]


def test_the_jobs_of_a_grid_are_listed_by_one_of_them(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """By state too, so that the others of a grid can be cancelled."""
    assert said(home, capsys, "ls", "--grid", "sweep-2", "--quiet").split() == [
        "sweep-1",
        "sweep-2",
        "sweep-3",
    ]
    queued = said(home, capsys, "ls", "--grid", "sweep", "--state", "queued", "--quiet")
    assert queued.split() == ["sweep-3"]
    named = json.loads(said(home, capsys, "ls", "sweep-1", "--grid", "sweep-3", "--json"))
    assert [one["id"] for one in named["jobs"]] == ["sweep-1"]
    assert cli.main(["--home", str(home.root), "ls", "--grid", "plain-1"]) == 3
    assert "plain-1 is no point of a grid" in capsys.readouterr().err


def test_show_names_the_point(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert "lr=0.01 warm=false, point 2 of 3" in said(home, capsys, "show", "sweep-2")


def test_the_report_compares_the_points_with_the_best_first(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """Jobs of a grid are compared with each other, not with the one before."""
    text = said(home, capsys, "report")
    table = text.partition("Grids\n")[2].splitlines()
    assert table[0] == (
        "sweep, 3 points: 2 done, 1 queued. Best loss 0.25: sweep-2 with lr=0.01 warm=false."
    )
    assert [line.split() for line in table[1:5]] == [
        ["job", "lr", "warm", "state", "loss", "epoch"],
        ["sweep-2", "0.01", "false", "done", "0.2500", "2"],
        ["sweep-1", "0.1", "true", "done", "0.5000", "2"],
        ["sweep-3", "0.001", "false", "queued", "-", "-"],
    ]
    assert "sweep-2: best loss 0.2500 in epoch 2; no checkpoint was kept." in text
    (grid,) = json.loads(said(home, capsys, "report", "--json"))["grids"]
    assert (grid["id"], grid["name"], grid["metric"], grid["best"]) == (
        "the grid",
        "sweep",
        "loss",
        "sweep-2",
    )
    assert [one["job"] for one in grid["points"]] == ["sweep-2", "sweep-1", "sweep-3"]
    assert grid["points"][2] == {
        "job": "sweep-3",
        "state": "queued",
        "point": {"lr": 0.001, "warm": False},
        "best": None,
    }


def test_the_page_has_the_table(home: Home) -> None:
    book = Period.open(home.ledger, readonly=True)
    made = page.render(summary.of(facts.read(home, book, 0.0, time.time())), {}, None)
    book.close()
    rows = made.partition('id="grids"')[2].partition("</section>")[0].split("<tr")[2:]
    assert [row.partition('data-label="job">')[2].partition("</td>")[0] for row in rows] == [
        "<strong>sweep-2</strong>",
        "sweep-1",
        "sweep-3",
    ]
    assert '<a href="#grids">' in made


@pytest.mark.parametrize("given", ["lr", "lr=", "lr=0.1,", "=1"])
def test_a_grid_without_name_or_value_is_refused(
    home: Home, given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forgotten value would be an empty argument of the script."""
    script = tmp_path / "train.py"
    script.touch()
    words = ["--home", str(home.root), "submit", str(script), "--grid", given]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert "Write for example --grid lr=0.1,0.01" in said or "has an empty value" in said
    assert not list(home.inbox.glob("*.*"))


def test_a_grid_of_options_is_submitted_and_cancelled(rig: Rig, tmp_path: Path) -> None:
    """Also by the command that the documentation gives."""
    script = tmp_path / "train.py"
    script.write_text("import sys; print(sys.argv)")
    rig.start()
    rig.cli("pause")
    words = ("--name", "sweep", "--grid", "lr=0.1,1e-2", "--grid", "note=a b,-x", "--live")
    out = rig.cli("submit", str(script), *words, "--json", "--", "--epochs", "3")
    answer = json.loads(out)
    assert answer["jobs"] == [f"sweep-{n}" for n in range(1, 5)]
    assert "sweep-1 to sweep-4 are accepted" in answer["message"]
    specs = [rig.show(job)["spec"]["args"] for job in answer["jobs"]]
    assert specs == [
        ["--epochs", "3", "--lr", lr, *note]
        for lr in ("0.1", "0.01")
        for note in (["--note", "a b"], ["--note=-x"])
    ]
    ids = rig.cli("ls", "--grid", "sweep-1", "--state", "waiting", "--quiet").split()
    assert ids == answer["jobs"]
    rig.cli("cancel", *ids[1:])
    rig.cli("resume")
    wait_for(lambda: rig.show("sweep-1")["state"] == "done", "the one that is left runs")
    assert {row["id"]: row["state"] for row in rig.ls()} == {
        "sweep-1": "done",
        **dict.fromkeys(answer["jobs"][1:], "cancelled"),
    }
