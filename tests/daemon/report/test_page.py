"""The page needs nothing else, runs nothing that a job has named, and is read on any screen."""

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, chromium
from rig import ROOT

from rekindle.daemon.client import cli
from rekindle.daemon.report import curves, details, page
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import EpochRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home

ASSETS = ROOT / "daemon" / "report" / "assets"
OWN = "document.documentElement.dataset.owned=1"
ATTACKS = (
    f"<script>{OWN}</script>",
    f"</script><script>{OWN}</script>",
    f"<img src=x onerror={OWN}>",
    f'"><svg onload="{OWN}">',
    f"'-{OWN}-'",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "\u202ereversed",
    "\x1b]0;title\x07",
    "<!--<script>",
)
"""Texts that a page without care would run, reorder or lose."""


def hostile(home: Home) -> None:
    """Fill a home whose job has attacks in each text that a script can choose."""
    book = Ledger.open(home.ledger)
    job, now, attack = "cut-1", time.time(), " ".join(ATTACKS)
    run = home.run(job)
    run.logs.mkdir(parents=True)
    book.insert_job(
        job,
        name="cut",
        number=1,
        run_dir=str(run.root),
        priority=0,
        spec=json.dumps({"checkpoint": {"monitor": ATTACKS[1]}}),
        claim=job,
        submitted_at=now,
    )
    entry = {"v": 1, "t": now, "stage": 0}
    for attempt in (1, 2):
        book.begin_attempt(job, attempt, now)
        receipt = {
            "checkpoint": attack,
            "inexact": [attack],
            "changed": [attack],
            "refused": [{"name": attack, "reason": attack}],
        }
        logs = dict.fromkeys(ATTACKS, 0.5 / attempt) | {"loss": float("nan")}
        begun = {**entry, "attempt": attempt, "kind": "resumed", "epoch": 0, "step": 0}
        failed = {"kind": "failed", "error_type": attack, "message": attack, "traceback": attack}
        book.ingest(
            job,
            [
                {**begun, **receipt, "lost_steps": 0},
                *(
                    {**begun, "kind": "epoch_ended", "epoch": 2 * attempt + n, "logs": logs}
                    for n in range(2)
                ),
                {**begun, **failed},
            ],
            0,
        )
        book.update_attempt(job, attempt, outcome="crashed", cause=attack, ended_at=now)
    book.set_state(job, JobState.STARTING, "", now=now)
    book.set_state(job, JobState.HELD, attack, now=now, hint=f"`rekindle release` {attack}")
    run.log(2).write_text("\n".join(ATTACKS))
    name = "<img src=x onerror=1>.toml"
    (home.rejected / name).write_text("")
    book.add_event("spec_rejected", data={"file": name, "error": attack, "hint": attack})
    book.close()


def many(home: Home, epochs: int) -> None:
    """Add a done job of many epochs, one of which has a spike."""
    book = Ledger.open(home.ledger)
    now = time.time()
    book.insert_job(
        "long-1",
        name="long",
        number=1,
        run_dir=str(home.run("long-1").root),
        priority=0,
        spec="{}",
        claim="long",
        submitted_at=now,
    )
    book.begin_attempt("long-1", 1, now)
    for state in (JobState.STARTING, JobState.DONE):
        book.set_state("long-1", state, "", now=now)
    with book.transaction():
        book._db.executemany(
            "INSERT INTO epochs VALUES ('long-1', 0, ?, ?, 1.0, ?, 1, 1.0)",
            (
                (
                    n,
                    9 * n,
                    json.dumps({"loss": 77.0 if n == 54321 else 1 / (n + 1), "val_loss": 0.5}),
                )
                for n in range(epochs)
            ),
        )
    book.close()


def write(home: Home, file: Path) -> str:
    assert cli.main(["--home", str(home.root), "report", "--html", str(file)]) == 0
    return file.read_text()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with chromium(tmp_path / "profile") as found:
        yield found


def test_hostile_texts_are_shown_and_never_run(
    home: Home, tmp_path: Path, browser: Browser
) -> None:
    """Names of metrics, reasons, hints, receipts, causes, log lines, names of files."""
    hostile(home)
    write(home, tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    assert browser.troubles() == []
    assert browser.value("document.documentElement.dataset.owned || 'safe'") == "safe"
    shown = browser.value("document.body.textContent")
    assert ATTACKS[0] in shown
    assert "{{ 7 * 7 }}" in shown
    assert "\u202e" not in shown
    assert int(browser.value("document.documentElement.dataset.drawn")) >= len(ATTACKS)
    assert browser.value("document.querySelectorAll('img, svg').length") == 0
    log = browser.value("document.querySelector('pre').textContent")
    assert all(attack in log for attack in ATTACKS[:6])


def test_the_policy_stops_what_escaping_has_missed(
    home: Home, tmp_path: Path, browser: Browser
) -> None:
    """A script, a handler, a picture and a style that stand in the page are not used."""
    text = write(home, tmp_path / "page.html")
    added = (
        f"<script>{OWN}</script><img src=x onerror={OWN}><body onload={OWN}>"
        '<img src="https://example.invalid/x.png"><p id="styled" style="color: red">x</p>'
    )
    (tmp_path / "page.html").write_text(text.replace("</main>", f"{added}</main>"))
    browser.open(tmp_path / "page.html")
    assert browser.value("document.documentElement.dataset.owned || 'safe'") == "safe"
    colour = browser.value("getComputedStyle(document.querySelector('#styled')).color")
    assert colour != "rgb(255, 0, 0)"
    assert any("Content Security Policy" in one for one in browser.troubles())


def test_a_hundred_thousand_epochs_are_drawn_with_their_spike(
    home: Home, tmp_path: Path, browser: Browser
) -> None:
    many(home, 100_000)
    began = time.monotonic()
    text = write(home, tmp_path / "page.html")
    took = time.monotonic() - began
    assert len(text) < 400_000
    assert took < 30
    browser.open(tmp_path / "page.html")
    assert browser.troubles() == []
    data = "JSON.parse(document.querySelector('figure script').textContent)"
    assert browser.value(f"{data}.x.at(-1)") == 100_000
    assert browser.value(f"Math.max(...{data}.series[0].values)") == 77.0
    assert browser.value(f"{data}.x[{data}.series[0].values.indexOf(77)]") == 54322
    assert browser.value(f"{data}.series.map((one) => one.label).join()") == "loss,val_loss"


def test_the_page_is_read_on_a_phone_in_the_dark_and_with_keys(
    home: Home, tmp_path: Path, browser: Browser
) -> None:
    hostile(home)
    many(home, 50)
    write(home, tmp_path / "page.html")
    for dark in (False, True):
        browser.open(tmp_path / "page.html", width=360, height=700, dark=dark)
        assert browser.value("document.documentElement.scrollWidth") <= 360
        back, text = (
            browser.value(f"getComputedStyle(document.body).{name}")
            for name in ("backgroundColor", "color")
        )
        assert contrast(back, text) > 7, (dark, back, text)
    browser.open(tmp_path / "page.html")
    browser.press("Tab")
    assert browser.value("document.activeElement.className") == "skip"
    browser.value("[...document.querySelectorAll('figure.chart')].at(-1).focus()")
    legend = "document.activeElement.querySelector('.u-legend').innerText"
    for _ in range(3):
        browser.press("ArrowRight")
    assert "3, attempt 1" in browser.value(legend)
    browser.press("ArrowLeft")
    assert "2, attempt 1" in browser.value(legend)


def contrast(first: str, second: str) -> float:
    """Compute the contrast of two colours, as WCAG defines it."""

    def luminance(colour: str) -> float:
        parts = [int(one) / 255 for one in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_of_many_jobs_those_that_need_a_person_have_curves_and_the_rest_is_said(
    home: Home, tmp_path: Path
) -> None:
    """The held job is the oldest."""
    hostile(home)
    book = Ledger.open(home.ledger)
    now = time.time()
    with book.transaction():
        for n in range(details.MOST_JOBS + 9):
            job = f"more-{n + 1}"
            book.insert_job(
                job,
                name="more",
                number=n + 1,
                run_dir=str(home.run(job).root),
                priority=0,
                spec="{}",
                claim=job,
                submitted_at=now,
            )
            book.begin_attempt(job, 1, now)
            for state in (JobState.STARTING, JobState.DONE):
                book.set_state(job, state, "", now=now)
    book.close()
    text = write(home, tmp_path / "page.html")
    assert "Attempts of cut-1" in text
    assert f"Attempts of more-{details.MOST_JOBS + 9}" in text
    assert "Attempts of more-1&" not in text
    assert 'Attempts of more-1"' not in text
    assert f"those of {details.MOST_JOBS} jobs; those of 10 more are left out" in text


def test_the_page_stands_alone(home: Home, tmp_path: Path) -> None:
    """Nothing of it is loaded from elsewhere; it is the same file that a browser without network
    shows."""
    hostile(home)
    text = write(home, tmp_path / "page.html")
    loads = re.findall(r"""(?:src|href)\s*=\s*["']?([^\s"'>]+)""", re.sub("&[a-z0-9#]+;", "", text))
    assert [one for one in loads if not one.startswith("#") and "onerror" not in text] == []
    assert "@import" not in text
    assert [one.name for one in tmp_path.glob("*page*")] == ["page.html"]


def test_what_is_no_number_leaves_a_gap_and_many_metrics_are_named(home: Home) -> None:
    rows = [
        EpochRow(0, n, n, 1.0, {f"m{k:02}": 1.0 for k in range(20)} | extra, 1, 0.0)
        for n, extra in enumerate([{"m00": float("nan")}, {"m00": 2.0}, {"m00": "text"}])
    ]
    found = curves.of(rows, 3)
    assert found.values["m00"] == (None, 2.0, None)
    assert len(found.values) + len(found.hidden) == 20
    [chart] = [one for one in page.charts(found) if one["title"] == "m00"]
    json.dumps(chart, allow_nan=False)


def test_the_library_of_the_curves_is_the_released_one() -> None:
    """uPlot 1.6.32 as npm has it: a change of the file has to be a new release of it."""
    found = hashlib.sha256((ASSETS / "uPlot.iife.min.js").read_bytes()).hexdigest()
    assert found == "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"
    assert "MIT" in (ASSETS / "uPlot.LICENSE").read_text()


def test_without_the_extra_the_verb_names_it(home: Home, tmp_path: Path) -> None:
    """In a process that does not find Jinja2; text and JSON need no extra."""
    code = (
        "import sys; sys.modules['jinja2'] = None\n"
        "from rekindle.daemon.client import cli; sys.exit(cli.main(sys.argv[1:]))"
    )

    def call(*words: str) -> Any:
        return subprocess.run(
            [sys.executable, "-c", code, "--home", str(home.root), "report", *words],
            capture_output=True,
            text=True,
            check=False,
        )

    done = call("--html", str(tmp_path / "page.html"))
    assert done.returncode == 1
    assert "needs the package Jinja2 (the extra `report`)" in done.stderr
    assert f"`{sys.executable} -m pip install Jinja2`" in done.stderr
    assert not (tmp_path / "page.html").exists()
    assert call().returncode == call("--json").returncode == 0


def test_a_folder_as_file_is_refused_with_a_name_in_it(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--home", str(home.root), "report", "--html", str(tmp_path)]) == 2
    assert f"--html {tmp_path / 'report.html'}" in capsys.readouterr().err
