"""The page on performance is that of the results, and each image of it exists."""

import json
import re
import subprocess
import sys

from rig import ROOT

PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results.json"
CODE = "import json, sys; import draw; sys.stdout.write(draw.page(json.load(open(sys.argv[1]))))"


def test_the_page_is_that_of_the_results() -> None:
    made = subprocess.run(
        [sys.executable, "-c", CODE, str(RESULTS)],
        cwd=ROOT / "benchmarks" / "suite",
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    hint = "python benchmarks/suite/measure.py --from benchmarks/results.json"
    assert made.stdout == PAGE.read_text(), hint


def test_each_result_says_where_and_when_it_was_measured() -> None:
    results = json.loads(RESULTS.read_text())
    assert results["format"] == 1
    for part in results["parts"].values():
        assert part["machine"]["cores"] > 0
        assert part["versions"]["python"]
        assert part["commit"]
        assert part["load"] >= 0


def test_each_image_of_the_page_exists() -> None:
    images = re.findall(r"!\[[^]]*\]\(([^)]+)\)", PAGE.read_text())
    assert images
    assert [name for name in images if not (PAGE.parent / name).is_file()] == []
