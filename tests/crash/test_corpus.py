"""Run scripts in the idioms of public code under kills, and compare what they write.

``make corpus`` runs all scripts of ``tests/scripts/corpus``; here some of them run, chosen by the
seed of this test run, which pytest prints.
"""

import os
import random
from pathlib import Path

import corpus
import pytest

pytestmark = [pytest.mark.crash, pytest.mark.slow(20)]

COUNT = int(os.environ.get("REKINDLE_CORPUS", "4"))
OPEN: dict[str, str] = {}
"""Scripts that still end in another result without a word, or fail after a kill, and why."""


def test_the_corpus_is_not_small() -> None:
    assert len(corpus.names()) >= 40
    assert OPEN.keys() <= set(corpus.names())


@pytest.mark.parametrize("slot", range(COUNT))
def test_a_killed_script_ends_identical_or_says_what_is_not(
    slot: int, tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = pytestconfig.getoption("randomly_seed", default=1)
    names = [name for name in corpus.names() if corpus.missing(name) is None]
    name = random.Random(f"{seed}").sample(names, COUNT)[slot]
    monkeypatch.setenv("STRIKE_USED", "sklearn")
    # the kills are those of the table in docs/reliability.md
    outcome = corpus.examine(name, tmp_path, seed=1)
    print(outcome)
    assert outcome.kills, "no kill hit"
    if name in OPEN and outcome.result not in corpus.GOOD:
        pytest.xfail(OPEN[name])
    assert outcome.result in corpus.GOOD, outcome
