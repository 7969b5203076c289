"""The end of a stage: what follows it, and what is refused where its weights were dropped."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from rekindle.jobs.ends.limit import EndLimit, Follower
from rekindle.jobs.ends.stage_ends import StageEnds
from rekindle.jobs.stages.decision import Call
from rekindle.jobs.stages.key import Entry, StageKey
from rekindle.state.errors import RekindleError, StateMismatch
from rekindle.state.paths import Run


class Model:
    """A model, of which only the identity counts."""


class Uses:
    """Uses that a test makes."""

    def __init__(self) -> None:
        self.noticed: Callable[[], None] | None = None

    def watch(self, noticed: Callable[[], None]) -> bool:
        self.noticed = noticed
        return True

    def stop(self) -> None:
        self.noticed = None

    def use(self) -> None:
        assert self.noticed is not None
        self.noticed()


class Limit(EndLimit):
    def __init__(self, root: Path) -> None:
        super().__init__(Run(root), 0, lambda _: None, lambda *_: None)
        self.followers: dict[int, Follower] = {}

    def drop(self, followers: object, protected: str | None) -> None:
        assert isinstance(followers, dict)
        self.followers = dict(followers)


class World:
    def __init__(self, root: Path) -> None:
        self.uses, self.limit = Uses(), Limit(root)
        self.refused: list[RekindleError] = []
        self.ends = StageEnds(self.limit, self.refused.append)
        self.ends.notice_by(self.uses)

    def enter(self, stage: int, model: object, weights: str) -> None:
        self.ends.pause()
        known = self.ends.weights_of(model)
        call = Call(StageKey("fit", "a", "o", {}), Entry(known or weights, "r"))
        self.ends.begun(stage, model, call)

    def followers(self) -> dict[int, Follower]:
        self.ends.drop(None)
        return self.limit.followers


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_next_stage_of_the_same_model_follows(world: World) -> None:
    model = Model()
    for stage in range(3):
        world.enter(stage, model, f"w{stage}")
        world.ends.ended(stage, model)
    assert world.followers() == {0: Follower(1, "w1"), 1: Follower(2, "w2")}


def test_a_model_that_was_used_has_no_follower(world: World) -> None:
    model, other = Model(), Model()
    world.enter(0, model, "w0")
    world.ends.ended(0, model)
    world.uses.use()
    world.enter(1, model, "w1")
    world.ends.ended(1, model)
    world.enter(2, other, "w2")
    world.ends.ended(2, other)
    assert world.followers() == {}


def test_without_a_way_to_notice_uses_nothing_follows(tmp_path: Path) -> None:
    world, model = World(tmp_path), Model()
    world.uses.watch = lambda noticed: False  # type: ignore[method-assign]
    for stage in range(2):
        world.enter(stage, model, "w")
        world.ends.ended(stage, model)
    assert world.followers() == {}


def test_dropped_weights_are_those_of_the_next_entry(world: World) -> None:
    model = Model()
    world.enter(0, model, "w0")
    world.ends.ended(0, model, asdict(Follower(1, "w1")))
    world.enter(1, model, "what the model has by chance")
    world.ends.ended(1, model)
    assert world.followers() == {0: Follower(1, "w1")}
    assert world.refused == []
    world.uses.use()  # restored by stage 1


def test_what_would_use_dropped_weights_is_refused(world: World) -> None:
    model = Model()
    world.ends.ended(3, model, asdict(Follower(4, "w4")))
    with pytest.raises(StateMismatch, match="as stage 3 left it"):
        world.uses.use()
    with pytest.raises(StateMismatch):
        world.enter(4, Model(), "another model")
    with pytest.raises(StateMismatch):
        world.ends.weights_of(None)  # a loop
    world.enter(4, model, "")
    with pytest.raises(StateMismatch):
        world.ends.require_weights()  # stage 4 has no checkpoint
    assert len(world.refused) == 4


def test_a_model_that_is_gone_is_not_missed(world: World) -> None:
    world.ends.ended(3, Model(), asdict(Follower(4, "w4")))
    other = Model()
    world.enter(4, other, "w")
    world.ends.require_weights()
    assert world.refused == []


def test_a_stage_that_was_left_leaves_nothing_missing(world: World) -> None:
    """The script caught an exception of a stage that was resumed from its own checkpoint."""
    model = Model()
    world.ends.ended(3, model, asdict(Follower(4, "w4")))
    world.enter(4, model, "")
    world.enter(5, model, "w5")
    world.ends.require_weights()
