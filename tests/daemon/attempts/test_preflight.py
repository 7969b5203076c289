"""Checks before a start: a job waits for what can come, and is held for what cannot."""

import json
from pathlib import Path

import pytest
from rig import Rig

from rekindle.daemon.attempts import preflight
from rekindle.jobs import memory
from rekindle.jobs.keeper.memory_limit import MemoryLimit
from rekindle.state.run import journal


def test_only_more_than_all_memory_can_never_be_free() -> None:
    """Exactly all of it may be free one day."""
    has = memory.total()
    assert has is not None
    assert preflight.more_than_the_host_has(has) is None
    assert "this host has only" in str(preflight.more_than_the_host_has(has + 1))


def test_a_job_that_waits_for_more_memory_than_the_host_has_is_held(
    rig: Rig, tmp_path: Path
) -> None:
    """It would wait for ever. What failed before (a queue that starves silently) is now said."""
    failed = {"attempt": 1, "error_type": "MemoryError", "message": "no", "traceback": ""}
    line = journal.encode({"v": 1, "t": 1.0, "kind": "failed", **failed, "epoch": 0, "step": 0})
    (tmp_path / "line").write_bytes(line)
    argv = json.dumps(
        ["sh", "-c", f"cat {tmp_path}/line >> $REKINDLE_RUN_DIR/journal.jsonl; exit 1"]
    )
    rig.drop(
        f'name = "m"\ncommand = {argv}\nworkdir = "/tmp"\n[resources]\nmemory = "900TiB"\n'
        '[retry]\nbackoff = "100ms..100ms"\n'
    )
    rig.start()
    held = rig.wait_state("m-1", "held")
    assert "this host has only" in held["reason"]
    assert "resources.memory" in held["hint"]
    assert len(rig.show("m-1")["attempts"]) == 1


def test_a_spawn_that_fails_leaves_no_cgroup(rig: Rig) -> None:
    """With cgroups of version 1 the keeper makes a folder, which nobody else removes."""
    limit = MemoryLimit.build(2**30, "rekindle-test-made")
    made = limit._made
    folder = limit._group
    limit.remove()
    if not made or folder is None:
        pytest.skip("the keeper makes no cgroup here: no cgroups of version 1, or no permission")
    rig.drop(
        'name = "m"\ncommand = ["/no/such/program"]\nworkdir = "/tmp"\n'
        '[resources]\nmemory = "1GiB"\n[retry]\nmax_failures = 1\n'
    )
    rig.start("--until-idle").wait(60)
    assert rig.show("m-1")["state"] == "held"
    assert list(folder.parent.glob("rekindle-m-1-*")) == []
