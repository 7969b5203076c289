"""Run scripts in the idioms of public code under kills, and compare what they write.

``make corpus`` runs all scripts of ``tests/scripts/corpus``; here some of them run, chosen by the
seed of this test run, which pytest prints.
"""

import os
import random
from pathlib import Path

import corpus
import pytest

pytestmark = [pytest.mark.crash, pytest.mark.slow]

COUNT = int(os.environ.get("REKINDLE_CORPUS", "4"))
OPEN: dict[str, str] = {
    "kaggle_kfold_one_best_file": "trainings that share one best file get the last one's weights",
    "kaggle_kfold_skip_finished": "a training that is skipped shifts the stages of those after it",
    "keras_inference_noise": "generators that the script makes without a seed",
    "keras_siamese": "datasets that shuffle again under zip, take and skip",
    "research_cached_split": "preparation that is kept on disk shifts the random stream",
    "research_closure_schedule": "the variables of a closure",
    "research_curriculum": "a dictionary that callbacks and data share",
    "research_dated_folder": "a folder named by the clock is another one in each attempt",
    "research_freeze_callback": "plain attributes of a layer",
    "research_mean_teacher": "a second model that a callback holds",
    "research_predict_in_callback": "a dataset that a callback iterates",
    "tf_overfit_underfit": "several datasets with cache, shuffle and repeat",
    "tf_tfrecord": "list_files shuffles with its own generator",
}
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
