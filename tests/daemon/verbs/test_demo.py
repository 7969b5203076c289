"""The demo's parts; `make demo` itself is the test of the whole."""

import math
from pathlib import Path

from rekindle.daemon.client import curve
from rekindle.daemon.demo import demo_script

ROOT = Path(__file__).resolve().parents[3]


def points(*losses: float, attempts: str = "") -> list[curve.Point]:
    """Make epochs with these losses; ``attempts`` has one digit for each."""
    given = attempts or "1" * len(losses)
    return [curve.Point(i, int(given[i]), loss, loss * 1.1) for i, loss in enumerate(losses)]


def test_the_script_of_the_demo_equals_that_in_examples() -> None:
    """A wheel has no examples folder and brings the script as text, which must not differ."""
    assert (ROOT / "examples/digits/train.py").read_text() == demo_script.SCRIPT


def test_the_curve_falls_as_the_loss_falls() -> None:
    """The first epoch is drawn to the top, the last one at an eighth of it."""
    lines = curve.in_terminal(points(8.0, 4.0, 1.0), height=8).plain.splitlines()
    bars = [line.split("┤")[1] for line in lines[:8]]
    assert "█" in bars[0][:4]
    assert not bars[0][4:].strip()
    assert "█" in bars[7][8:12]
    assert not bars[6][8:12].strip()


def test_the_curve_shows_the_attempt_of_each_epoch() -> None:
    """By number, not only by colour."""
    text = curve.in_terminal(points(3.0, 2.0, 1.0, attempts="122")).plain
    assert ["attempt", "1", "2", "2"] == text.splitlines()[-1].split()


def test_the_curve_fits_its_width_with_any_number_of_epochs() -> None:
    """Of a thousand epochs every n-th is drawn."""
    text = curve.in_terminal(points(*[1.0 + 1 / (i + 1) for i in range(1000)]), width=60).plain
    assert max(len(line) for line in text.splitlines()) <= 60


def test_the_curve_shows_losses_that_are_not_finite() -> None:
    """NaN and infinity are shown, not dropped; no epoch at all is reported."""
    assert "!" in curve.in_terminal(points(1.0, math.nan, math.inf)).plain
    assert "!" in curve.in_terminal(points(math.nan)).plain
    assert curve.in_terminal([]).plain == "no epoch has ended yet"


def test_the_curve_is_drawn_as_a_png(tmp_path: Path) -> None:
    """With attempts, ends and the undisturbed run."""
    file = tmp_path / "new" / "loss.png"
    drawn = points(3.0, 2.0, 1.0, attempts="122")
    assert curve.as_png(file, drawn, points(3.0, 2.0, 1.0), [(1, "SIGKILL")])
    assert file.read_bytes().startswith(b"\x89PNG")
