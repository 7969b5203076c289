"""Every line of code in docs/article.md is true for the installed Keras."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rig import DATA, ROOT, Rig, wait_for

EXAMPLE = ROOT / "examples" / "fashion_mnist" / "article.py"


@pytest.mark.slow(15)  # trains what the article trains
def test_the_code_of_the_article_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """With its asserts; in a separate process and folder."""
    text = (ROOT / "docs/article.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 10
    script = tmp_path / "article.py"
    script.write_text("\n".join(blocks))
    ran = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow(30)
@pytest.mark.skipif(not DATA.exists(), reason="the real images are missing")
def test_the_script_of_the_article_in_its_own_idiom_resumes_in_both_fits(
    rig: Rig, tmp_path: Path
) -> None:
    """Killed in the first and in the second training, it writes the checkpoints of an
    undisturbed run."""
    for name in ("calm", "stormy"):
        (tmp_path / name).mkdir()
        args = json.dumps(["--data", str(DATA), "--epochs", "2"])
        rig.drop(
            f'name = "{name}"\nscript = "{EXAMPLE}"\nworkdir = "{tmp_path / name}"\n'
            f'args = {args}\nseed = 3\n[checkpoint]\nevery = "4 steps"\n'
            '[retry]\nbackoff = "200ms..500ms"\n',
            f"{name}.toml",
        )
    rig.start()
    for attempt, stage in ((1, 0), (2, 1)):
        wait_for(
            lambda stage=stage: (
                any(
                    entry["stage"] == stage and not entry.get("end")
                    for entry in rig.entries("stormy-1", "checkpoint_committed")
                    if entry["step"] > 4
                )
                if rig.home.run("stormy-1").journal.exists()
                else None
            ),
            f"stage {stage} commits a checkpoint",
            300,
        )
        assert rig.trainer("stormy-1", attempt).send(signal.SIGKILL)
    for name in ("calm-1", "stormy-1"):
        assert "done" == rig.wait_state(name, "done", "failed", "held", seconds=300)["state"]
    first = {entry["attempt"]: entry for entry in reversed(rig.entries("stormy-1", "resumed"))}
    assert [0, 1] == [first[attempt]["stage"] for attempt in (2, 3)]
    assert all(first[attempt]["checkpoint"] for attempt in (2, 3))
    said = [
        re.findall(r"accuracy: +[\d.]+ %", rig.cli("logs", name)) for name in ("calm-1", "stormy-1")
    ]
    assert said[0] == said[1]
    assert 2 == len(said[0])
    shown = [
        [(epoch["stage"], epoch["epoch"], epoch["logs"]) for epoch in rig.show(name)["epochs"]]
        for name in ("calm-1", "stormy-1")
    ]
    assert shown[0] == shown[1]
