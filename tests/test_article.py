"""Every line of code in docs/article.md is true for the installed Keras."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_code_of_the_article_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """Its asserts included; in a process and a folder of its own."""
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
