"""Print the record of a crash series as the table of docs/reliability.md: ``table.py RECORD``."""

import json
import sys
from collections import defaultdict
from pathlib import Path


def main() -> None:
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    by_name: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        by_name[row["name"]].append(row)
    print("| script | kills | lives that went on | of them in mid-epoch | storms identical |")
    print("|---|---|---|---|---|")
    totals = [0, 0, 0, 0, 0]
    for name, found in by_name.items():
        counts = [
            sum(len(row["kills"]) for row in found),
            sum(row["resumed"] for row in found),
            sum(row["in_mid_epoch"] for row in found),
            sum(row["identical"] for row in found),
            len(found),
        ]
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        print(f"| {name} | {counts[0]} | {counts[1]} | {counts[2]} | {counts[3]} of {counts[4]} |")
    print(f"| **all** | {totals[0]} | {totals[1]} | {totals[2]} | {totals[3]} of {totals[4]} |")
    places: dict[str, int] = defaultdict(int)
    for row in rows:
        for kill in row["kills"]:
            words = kill.replace(" to the keeper", "").split(" (")[0].split()
            if "after the start" in kill:
                words = [words[0], "before", "training"]
            places[" ".join(words)] += 1
    print("\n| signal and place | hits |\n|---|---|")
    for place, count in sorted(places.items()):
        print(f"| {place} | {count} |")


if __name__ == "__main__":
    main()
