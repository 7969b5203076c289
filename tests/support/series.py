"""Run a series of kills over the kill matrix and the corpus, and print the tables.

``make series N=500 SEED=1`` kills trainings until so many signals have hit. Attempts are forked
from one process that has imported TensorFlow (``warm.py``), except where a script depends on how
an interpreter starts. ``--record FILE`` has one JSON line for each killed run; a series that was
ended is continued by the same command, and runs that are recorded are not repeated. A run that
ends silent or failed is kept in ``FOLDER/kept``.
"""

import argparse
import json
import random
import shutil
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import corpus
import lives as driver
import matrix
from corpus import FAILED, GOOD, IDENTICAL, NAMED, SILENT

RESULTS: Final = (IDENTICAL, NAMED, corpus.HELD, FAILED, SILENT)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--record", type=Path, default=Path("series.jsonl"))
    parser.add_argument("--folder", type=Path, default=Path("series"), help="for the runs")
    parser.add_argument("--only", choices=("matrix", "corpus"))
    parser.add_argument("--table", action="store_true", help="print the tables of the record")
    args = parser.parse_args()
    rows = read(args.record)
    if args.table:
        print(tables(rows))
        return 0
    if rows:
        args.seed = rows[0]["seed"]
    args.folder = args.folder.absolute()
    args.folder.mkdir(parents=True, exist_ok=True)
    known = {(row["suite"], row["name"], row["storm"]) for row in rows}
    print(f"series with --seed {args.seed}, {hits(rows)} kills recorded", file=sys.stderr)
    for suite, name, storm in order(args.seed, args.only):
        if hits(rows) >= args.kills:
            break
        if (suite, name, storm) not in known:
            row = one(suite, name, storm, args.seed, args.folder)
            rows.append(row)
            with args.record.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{hits(rows)} {json.dumps(row)}"[:400], file=sys.stderr, flush=True)
            if len(rows) >= 5 and not hits(rows[-5:]):
                print("no kill hit in five runs", file=sys.stderr)
                break
    print(tables(rows))
    return 0 if all(row["result"] in GOOD for row in rows) else 1


def read(record: Path) -> list[dict[str, Any]]:
    """Read a record; a line that was cut off is dropped."""
    rows = []
    for line in record.read_text().splitlines() if record.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def hits(rows: list[dict[str, Any]]) -> int:
    return sum(len(row["kills"]) for row in rows)


def order(seed: int, only: str | None) -> Iterator[tuple[str, str, int]]:
    """Name suite, script and storm of each run, in the order of the seed, without end."""
    scripts = [("matrix", name) for name in matrix.NAMES]
    scripts += [("corpus", name) for name in corpus.names() if corpus.missing(name) is None]
    storm = 0
    while True:
        dealt = [pair for pair in scripts if only in (None, pair[0])]
        random.Random(f"{seed} {storm}").shuffle(dealt)
        yield from ((suite, name, storm) for suite, name in dealt)
        storm += 1


def one(suite: str, name: str, storm: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kill one script, compare it, and return the line of the record."""
    began = time.monotonic()
    root = folder / "now"
    shutil.rmtree(root, ignore_errors=True)
    run = _matrix if suite == "matrix" else _corpus
    try:
        row = run(name, root, f"{name} {seed} {storm}", folder / "calm")
    except AssertionError as error:
        row = {"result": FAILED, "kills": [], "said": [str(error)[-800:]]}
    if row["result"] not in GOOD:
        kept = folder / "kept" / f"{name}-{storm}"
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(exist_ok=True)
        shutil.move(root, kept)
    shutil.rmtree(root, ignore_errors=True)
    place = {"suite": suite, "name": name, "storm": storm, "seed": seed}
    return {**place, **row, "seconds": round(time.monotonic() - began, 1)}


def _matrix(name: str, root: Path, dice: str, calm: Path) -> dict[str, Any]:
    known = _known(calm / f"matrix-{name}.json")
    if known is None:
        known = driver.undisturbed(matrix.lives(root / "calm", name)).digests
        _keep(calm / f"matrix-{name}.json", known)
    lives = matrix.lives(root / "storm", name)
    result = driver.stormy(lives, matrix.blows(name, dice, matrix.STORM))
    different = driver.differences(known, result.digests)
    said = list(dict.fromkeys(corpus.said(lives)))
    return {
        "result": IDENTICAL if not different else NAMED if said else SILENT,
        "kills": result.kills,
        "resumed": result.resumes,
        "in_mid_epoch": result.in_mid_epoch,
        "different": different[:20],
        "said": said,
    }


def _corpus(name: str, root: Path, dice: str, calm: Path) -> dict[str, Any]:
    known = _known(calm / f"corpus-{name}.json")
    first = corpus.Calm(**known) if known is not None else corpus.calm(name, root)
    _keep(calm / f"corpus-{name}.json", asdict(first))
    outcome, result = corpus.compared(name, root, first, random.Random(zlib.crc32(dice.encode())))
    return {
        "result": outcome.result,
        "kills": result.kills,
        "resumed": outcome.resumes,
        "in_mid_epoch": result.in_mid_epoch,
        "different": list(outcome.different)[:20],
        "said": list(outcome.said),
    }


def _known(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _keep(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def tables(rows: list[dict[str, Any]]) -> str:
    """Format the record: totals, then each script that did not always end identical."""
    lines = [
        "| scripts | killed runs | kills | resumed | in mid-epoch | " + " | ".join(RESULTS) + " |",
        "|---|---|---|---|---|" + "---|" * len(RESULTS),
    ]
    for suite in ("matrix", "corpus", "all"):
        mine = [row for row in rows if suite in ("all", row["suite"])]
        if not mine:
            continue
        counts = Counter(row["result"] for row in mine)
        numbers = [
            len(mine),
            hits(mine),
            sum(row.get("resumed", 0) for row in mine),
            sum(row.get("in_mid_epoch", 0) for row in mine),
            *(counts[result] for result in RESULTS),
        ]
        names = len({row["name"] for row in mine})
        lines.append(f"| {suite} ({names}) | " + " | ".join(map(str, numbers)) + " |")
    other: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["result"] != IDENTICAL:
            other.setdefault((row["result"], row["name"]), []).extend(row["said"][:1])
    lines += ["", "| result | script | said |", "|---|---|---|"]
    lines += [
        f"| {result} | {name} | {' '.join(dict.fromkeys(said))[:160]} |"
        for (result, name), said in sorted(other.items())
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
