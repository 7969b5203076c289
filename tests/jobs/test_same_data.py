"""Find another order of data by its digest, and not another process."""

import numpy as np

from rekindle.jobs.data.loop_batches import LoopSource
from rekindle.jobs.proof import same_data


def test_another_order_is_found_and_the_same_is_not() -> None:
    rows = np.random.default_rng(0).normal(size=(100_000, 8))
    order = np.random.default_rng(1).permutation(len(rows))
    kept = same_data.digest((rows[order], order))
    assert same_data.difference(kept, (rows[order], order)) is None
    other = np.roll(order, 1)
    assert same_data.difference(kept, (rows[other], other)) is not None


def test_a_long_list_is_sampled_and_an_unknown_kind_is_not_compared() -> None:
    names = list(range(100_000))
    kept = same_data.digest(names)
    assert same_data.difference(kept, names[::-1]) is not None
    assert same_data.difference(kept, names[:-1]) is not None
    assert same_data.digest([object()]) == ""


def test_other_data_in_a_relaunch_is_named_as_not_exact() -> None:
    rows = np.arange(40.0)
    kept = LoopSource(0, rows, 8, shuffle=False).digest()
    for data, named in ((rows.copy(), 0), (rows[::-1], 1)):
        source = LoopSource(0, data, 8, shuffle=False)
        source.compare(kept)
        assert len(source.caveats) == named
