"""Draw the plots of results.json, and write docs/performance.md from it."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.savers import WHEN, title

PAGE = "docs/performance.md"
IMAGES = "docs/images"
HEAD = """# Performance

<!-- written by `make bench` from benchmarks/results.json: measure again, do not change it here -->

`make bench ARGS=--large` measures all of it again; `make bench ARGS="--from benchmarks/results.json"` only draws
this page. Each part says where and when it was measured; one that was a short run, or ran beside other work,
shows that it runs, and is no figure to quote.
"""


def page(results):
    """Return the text of the page."""
    parts = results["parts"]
    writers = {
        "stall": _stall,
        "whole": _whole,
        "cadence": _cadence,
        "ettr": _ettr,
        "relaunch": _relaunch,
        "steady": _steady,
        "disk": _disk,
        "scale": _scale,
    }
    texts = [HEAD]
    for name, write in writers.items():
        if name in parts:
            texts.append(write(parts[name]["result"]) + "\n" + _about(parts[name]))
    return "\n".join(texts)


def _about(part):
    at = time.strftime("%Y-%m-%d", time.gmtime(part["at"]))
    place = part["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in part["versions"].items())
    short = "A short run. " if part["short"] else ""
    return (
        f"*{short}{at}, commit {part['commit']}, {part['seconds']:.0f} s; {place['processor']}, "
        f"{place['cores']} cores, {place['memory'] / 2**30:.0f} GiB, {place['file_system']}, "
        f"load {part['load']:.1f} at the beginning; {versions}.*\n"
    )


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def _ms(value):
    return "-" if value is None else f"{value:,.1f}"


def _stall(sizes):
    text = (
        "## The cost of a save\n\nAdam, so that three times the parameters are saved. The *stall* is the step "
        "with the save, less an ordinary one;\nthe *spread* is what the steps up to the next save take longer. "
        "The *flush* is what is left to do for the disk\nwhen a saver returns. Milliseconds, medians.\n\n"
        "![Stall of a save against parameters](images/performance-stall.png)\n\n"
    )
    for size in sizes:
        rows = [
            (
                title(name),
                *(_ms(row[key]) for key in ("stall_ms", "with_spread_ms")),
                _durable(name, row),
                _ms(row["restore_ms"]),
                f"{row['bytes'] / 1e6:,.2f}",
                f"{row['peak_bytes'] / 1e6:,.0f}",
            )
            for name, row in size["savers"].items()
            if name != "none"
        ]
        head = ("saver", "stall", "with spread", "durable", "restore", "MB", "peak RSS, MB")
        text += f"### {1e6 * size['millions']:,.0f} parameters\n\n{_table(head, rows)}\n"
        left_out = [f"{title(name)}: {why}" for name, why in size["absent"].items()]
        text += "".join(f"Left out: {one}.\n\n" for one in left_out)
    return text


def _durable(name, row):
    if row["flush_ms"] is not None:
        return f"flush of {_ms(row['flush_ms'])}"
    return WHEN.get(name, "not when it returns")


def _whole(result):
    head = ("saves", "step, ms", "ratio to none")
    rows = [
        (name, f"{row['step_ms']:.1f}", f"{row['ratio']:.4f}")
        for name, row in result.items()
        if isinstance(row, dict)
    ]
    return (
        "## What durable saves cost a training\n\nSteps that wait, as those of an accelerator do, and change "
        f"every variable.\n\n{_table(head, rows)}"
    )


def _cadence(rows):
    head = (
        "delay of a save, s",
        "hours between failures",
        "auto",
        "formula",
        "best fixed interval",
    )
    cells = [
        (
            f"{row['delay']:g}",
            f"{row['between_h']:g}",
            *(f"{row[name]:.4f}" for name in ("auto", "formula", "best")),
        )
        for row in rows
    ]
    return (
        '## The cadence of auto\n\nUseful time by all time of a simulated training with random failures: `every = "auto"`, '
        "which learns how often\nit fails, Daly's formula with the true rate, and the best of ten fixed intervals.\n\n"
        "![Efficiency against the hours between failures](images/performance-cadence.png)\n\n"
        + _table(head, cells)
    )


def _ettr(result):
    run, long = result["run"], result["scaled"]
    losses = [
        (name, f"{run['time']['losses'][name]:.1f}", f"{long['losses'][name]:.1f}")
        for name in long["losses"]
    ]
    rows = [
        ("useful", f"{run['time']['useful']:.1f}", f"{long['useful']:.0f}"),
        *losses,
        ("**ETTR**", f"**{run['time']['ettr']:.3f}**", f"**{long['ettr']:.4f}**"),
    ]
    head = ("seconds", "measured run", f"{long['hours']:g} hours of it")
    return (
        f"## Useful time of a job with {long['kills']} kills\n\nThe classes are those of [ettr.md](ettr.md). Saves and "
        'repeated steps are scaled to the long job, with the interval\nof `every = "auto"`; the cost of the '
        f"relaunches is as measured.\n\n{_table(head, rows)}"
    )


def _steady(rows):
    head = ("", "found", "goal")
    cells = [(row["what"], f"{row['found']:.3g} {row['unit']}", row["goal"]) for row in rows]
    return f"## Supervision\n\n{_table(head, cells)}"


def _relaunch(result):
    cold, warm = result["cold"], result["warm"]
    rows = [(text, f"{cold[text]:.2f}", f"{warm[text]:.2f}") for text in cold]
    last = rows.pop()
    rows.append(tuple(f"**{cell}**" for cell in last))
    head = (f"seconds, medians of {result['kills']}", "cold", "in a warm spare")
    return (
        "## Relaunch\n\nFrom SIGKILL of a training to the end of the first step of the next attempt; a small CNN.\n\n"
        + _table(head, rows)
    )


def _disk(result):
    ours = "rekindle, with digests"
    ways = [way for way in next(iter(result.values())) if way != ours]
    head = ("state", *(f"{way}, s" for way in (ours, *ways)), "rekindle to the shortest")
    cells = [
        (
            size,
            *(f"{took[way]:.3f}" for way in (ours, *ways)),
            f"{took[ours] / min(took[way] for way in ways):.2f}",
        )
        for size, took in result.items()
    ]
    return (
        "## The write of a checkpoint and the disk\n\nThe limit is the shortest way to have as many bytes "
        f"on the same disk, `fsync` included.\n\n{_table(head, cells)}"
    )


def _scale(rows):
    numbers = sorted({n for row in rows for n, _ in row["points"]})
    head = ("milliseconds, with so many", *(f"{n:,}" for n in numbers))
    cells = [
        (row["what"], *(_ms(dict(map(tuple, row["points"])).get(n)) for n in numbers))
        for row in rows
    ]
    cells += [
        (
            f"{row['what']}: bytes of the checkpoint",
            *(f"{b:,}" if (b := dict(map(tuple, row["bytes"])).get(n)) else "-" for n in numbers),
        )
        for row in rows
        if "bytes" in row
    ]
    return (
        "## What grows\n\nTime by the number of things; `ls`, `show` and objects are processor time.\n\n"
        f"![Time against the number of things](images/performance-scale.png)\n\n{_table(head, cells)}"
    )


def draw(results, root):
    """Write the page; the plots as well where matplotlib is installed."""
    (root / PAGE).write_text(page(results))
    print(f"wrote {PAGE}")
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plots: matplotlib is not installed: pip install '.[bench]'")
        return
    mpl.use("agg")
    from matplotlib import pyplot as plt

    parts = results["parts"]
    if "stall" in parts:
        _draw_stall(plt, parts["stall"]["result"])
        _save(plt, root, "performance-stall.png")
    if "cadence" in parts:
        _draw_cadence(plt, parts["cadence"]["result"])
        _save(plt, root, "performance-cadence.png")
    if "scale" in parts:
        _draw_scale(plt, parts["scale"]["result"])
        _save(plt, root, "performance-scale.png")


def _draw_scale(plt, rows):
    _, axes = plt.subplots(figsize=(8, 5))
    for row in rows:
        axes.plot(*zip(*row["points"], strict=True), marker="o", label=row["what"])
    axes.set(xscale="log", yscale="log", xlabel="number", ylabel="ms")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_stall(plt, sizes):
    _, axes = plt.subplots(figsize=(8, 5))
    names = dict.fromkeys(name for size in sizes for name in size["savers"])
    for name in names:
        if name == "none" or "+" in name:
            continue
        points = [
            (1e6 * size["millions"], max(size["savers"][name]["stall_ms"], 0.05))
            for size in sizes
            if name in size["savers"]
        ]
        wide = {"linewidth": 3, "color": "black"} if name == "rekindle" else {"linewidth": 1}
        axes.plot(*zip(*points, strict=True), marker="o", label=title(name), **wide)
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="stall of a save, ms")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_cadence(plt, rows):
    _, axes = plt.subplots(figsize=(8, 5))
    for delay in dict.fromkeys(row["delay"] for row in rows):
        mine = [row for row in rows if row["delay"] == delay]
        hours = [row["between_h"] for row in mine]
        (line,) = axes.plot(
            hours, [row["auto"] for row in mine], marker="o", label=f"auto, {delay:g} s a save"
        )
        axes.plot(
            hours,
            [row["best"] for row in mine],
            linestyle="--",
            color=line.get_color(),
            label=f"best fixed interval, {delay:g} s a save",
        )
    axes.set(xscale="log", xlabel="hours between failures", ylabel="useful time by all time")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _save(plt, root, name):
    plt.tight_layout()
    plt.savefig(root / IMAGES / name, dpi=110, metadata={"Software": None})
    plt.close()
    print(f"wrote {IMAGES}/{name}")
