"""Keep of the start of an epoch what is exact, short, and bounded."""

from typing import Any, cast

import numpy as np

from rekindle.jobs.proof import epoch_start
from rekindle.jobs.proof.epoch_start import MOST_BYTES, EpochStart
from rekindle.state.run.training_state import TrainingState


def _state(losses: list[float], key: str) -> TrainingState:
    changed: dict[str, Any] = {
        "losses": {"kind": "list", "type": "list", "content": list(losses), "digest": f"{losses}"},
        "order": {"kind": "array", "type": "array", "content": [key, "int64"], "digest": key},
    }
    return cast("TrainingState", {"python": {"begun": {}, "changed": changed}, "state": {}})


def test_a_grown_list_is_kept_by_its_length_and_comes_back() -> None:
    begun = _state([0.5] * 100, "python/00001/0")
    start = EpochStart(begun, {"python/00001/0": np.arange(5)})
    now = _state([0.5] * 100 + [0.25] * 7, "python/00001/0")
    arrays = {"python/00001/0": np.arange(5)[::-1].copy()}
    now |= start.describe(now, arrays)
    assert now["epoch_start"]["python"]["losses"]["first"] == 100
    found = epoch_start.full(now, arrays)
    assert found is not None
    assert found[0]["python"]["changed"] == begun["python"]["changed"]
    assert found[1]["python/00001/0"].tolist() == [0, 1, 2, 3, 4]


def test_what_is_as_large_as_a_model_is_not_kept_twice() -> None:
    large = np.zeros(MOST_BYTES + 8, np.uint8)
    begun = _state([0.5], "python/00001/0")
    start = EpochStart(begun, {"python/00001/0": large})
    now = _state([0.5], "python/00001/0")
    arrays = {"python/00001/0": large + 1}
    now |= start.describe(now, arrays)
    assert list(arrays) == ["python/00001/0"]
    found = epoch_start.full(now, arrays)
    assert found is not None
    assert found[0]["python"]["own"] == ["order"]
