"""Draw a loss curve over all attempts: with block characters for a terminal, and as a PNG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

_BLOCKS = " ▁▂▃▄▅▆▇█"
WIDEST = 64
"""Points that a terminal of the usual width shows."""
_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red")


@dataclass(frozen=True, slots=True)
class Point:
    """One finished epoch.

    Attributes:
        epoch: its number on the axis.
        attempt: 1-based number of the attempt that finished it.
        value: the loss.
        validation: the loss on the validation data, if there is any.
    """

    epoch: int
    attempt: int
    value: float
    validation: float | None = None


def colour(attempt: int) -> str:
    """Return the colour of an attempt, the same in the curve and in every table."""
    return _COLOURS[(attempt - 1) % len(_COLOURS)]


def in_terminal(points: Sequence[Point], width: int = WIDEST + 8, height: int = 9) -> Text:
    """Draw bars from 0 to the highest value, one group per epoch, coloured by attempt.

    With more epochs than columns only every n-th is drawn. A value that is not finite is
    drawn as ``!`` at full height.
    """
    every = max(1, math.ceil(len(points) / (width - 8)))
    drawn = points[::every]
    if not drawn:
        return Text("no epoch has ended yet")
    columns = max(1, min(4, (width - 8) // len(drawn)))
    top = max((p.value for p in drawn if math.isfinite(p.value)), default=1.0) or 1.0
    text = Text()
    for row in reversed(range(height)):
        label = f"{top * (row + 1) / height:7.3f}" if row % 2 == 0 else " " * 7
        text.append(label + "┤", "dim")
        for point in drawn:
            if math.isfinite(point.value):
                filled = point.value / top * height * 8 - row * 8
                block = _BLOCKS[round(min(max(filled, 0), 8))]
                # a loss near zero would make its epoch invisible
                block = _BLOCKS[1] if row == 0 and block == " " else block
            else:
                block = "!"
            text.append(block * max(1, columns - 1) + " " * (columns > 1), colour(point.attempt))
        text.append("\n")
    text.append(" " * 7 + "└" + "─" * (columns * len(drawn)) + "\n", "dim")
    for name in ("epoch", "attempt"):
        text.append(f"{name:>7} ", "dim")
        for point in drawn:
            number, style = (
                (point.epoch, "dim") if name == "epoch" else (point.attempt, colour(point.attempt))
            )
            # a narrow column cuts the number to its last digits
            text.append(str(number)[-max(1, columns - 1) :].ljust(columns), style)
        text.append("\n")
    return text


def as_png(
    file: Path, points: Sequence[Point], reference: Sequence[Point], ends: Sequence[tuple[int, str]]
) -> bool:
    """Draw loss and validation loss over the epochs, attempts shaded, ``reference`` dotted.

    Args:
        ends: attempt and the label of its end, for those that did not finish the job.

    Returns:
        False if matplotlib is not installed; no file is written then.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    # pyplot would need a display and change the process's global state
    figure = Figure(figsize=(9, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    shades = ("#dff0fa", "#fdf1d3", "#e2f3df", "#f2e3f5", "#e3e6fa", "#fbe3e1")
    start = -0.5
    for attempt in sorted({p.attempt for p in points}):
        own = [p.epoch for p in points if p.attempt == attempt]
        axes.axvspan(
            start, own[-1] + 0.5, color=shades[(attempt - 1) % len(shades)], lw=0, zorder=0
        )
        axes.text(
            (start + own[-1] + 0.5) / 2,
            1.02,
            f"attempt {attempt}",
            ha="center",
            transform=axes.get_xaxis_transform(),
        )
        start = own[-1] + 0.5
        for number, how in ends:
            if number == attempt:
                axes.axvline(start, color="#c0392b", lw=1.5)
                axes.text(
                    start + 0.12,
                    0.96,
                    how,
                    color="#c0392b",
                    rotation=90,
                    va="top",
                    transform=axes.get_xaxis_transform(),
                )
    epochs = [p.epoch for p in points]
    axes.plot(epochs, [p.value for p in points], color="#1f77b4", lw=2, label="loss")
    axes.plot(
        epochs,
        [math.nan if p.validation is None else p.validation for p in points],
        color="#ff7f0e",
        lw=2,
        label="validation loss",
    )
    for values in (
        [p.value for p in reference],
        [math.nan if p.validation is None else p.validation for p in reference],
    ):
        axes.plot(
            [p.epoch for p in reference],
            values,
            "k.",
            ms=5,
            label="the same job, undisturbed" if values[0] == reference[0].value else None,
        )
    axes.set(xlabel="epoch", ylabel="loss", xlim=(-0.5, start), ylim=(0, None))
    axes.set_xticks(range(0, len(epochs), max(1, len(epochs) // 10)))
    axes.legend(loc="center right", framealpha=0.9)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    return True
