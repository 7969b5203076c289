"""Follow Python objects from callbacks and functions, and restore them in place."""

import collections
import dataclasses
import enum
import importlib
import json
import pathlib
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
import pytest

from rekindle.jobs.bytecode import own_code
from rekindle.jobs.object_kinds import leaves
from rekindle.jobs.python_state import saved, trials
from rekindle.jobs.python_state.reach import Reach
from rekindle.jobs.python_state.restore import Restorer

Roots = dict[str, Any]
Make = Callable[[], Roots]


class Life:
    """Make the roots as a script does, and walk from them as a stage does."""

    def __init__(self, make: Make) -> None:
        self.roots = make()
        self.entry = Reach(self.roots, _nothing)
        self.unsaved: list[saved.Unsaved] = []

    def save(self) -> tuple[saved.PythonRecords, dict[str, Any]]:
        arrays: dict[str, Any] = {}
        kept, self.unsaved = saved.out(self.entry, self._walk(), arrays)
        return json.loads(json.dumps(kept)), arrays

    def restore(self, kept: saved.PythonRecords, arrays: dict[str, Any]) -> Restorer:
        restorer = Restorer(self.entry, self._walk, kept, arrays, {})
        restorer.restore()
        return restorer

    def _walk(self) -> Reach:
        return Reach(self.roots, _nothing, self.entry)


def _nothing(value: Any) -> None:
    return None


def _relaunch(make: Make, train: Callable[[Roots], Any]) -> tuple[Life, Restorer]:
    """Train in one life, and restore in the next."""
    first = Life(make)
    train(first.roots)
    kept, arrays = first.save()
    second = Life(make)
    restorer = second.restore(kept, arrays)
    assert restorer.wrong() == []
    return second, restorer


class Holder:
    total = 0

    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)

    def count(self) -> None:
        Holder.total += 1


class Phase(enum.Enum):
    WARM = 1
    MAIN = 2


Point = collections.namedtuple("Point", "x y")  # noqa: PYI024

level = 1.0
seen: list[float] = []


def raise_level() -> None:
    global level
    level *= 1.1
    seen.append(level)


def test_what_two_objects_share_stays_one_object() -> None:
    def make() -> Roots:
        shared = {"n": 0, "rows": []}
        return {"a": Holder(ctx=shared), "b": Holder(ctx=shared, rows=shared["rows"])}

    def train(roots: Roots) -> None:
        ctx = roots["a"].ctx
        ctx["n"] = 5
        ctx["rows"].append({"loss": 0.5})
        roots["a"].last = ctx["rows"][-1]

    life, _ = _relaunch(make, train)
    a, b = life.roots["a"], life.roots["b"]
    assert a.ctx is b.ctx and b.rows is a.ctx["rows"] and a.last is b.rows[0]
    assert (a.ctx["n"], b.rows) == (5, [{"loss": 0.5}])


def test_closures_defaults_and_bound_objects_are_followed() -> None:
    def make() -> Roots:
        memory, count = {"lr": 1.0}, 0

        def schedule(by: float = 0.5, log: list[float] = []) -> int:
            nonlocal count
            count += 1
            memory["lr"] *= by
            log.append(memory["lr"])
            return count

        schedule.__defaults__ = (0.5, [])
        meter = Holder(n=0)
        return {"f": schedule, "read": lambda: (count, memory), "bound": meter.count, "m": meter}

    def train(roots: Roots) -> None:
        roots["f"]()
        roots["f"]()
        roots["m"].n = 7

    life, _ = _relaunch(make, train)
    assert life.roots["read"]() == (2, {"lr": 0.25})
    assert life.roots["f"].__defaults__[1] == [0.5, 0.25]
    assert life.roots["bound"].__self__.n == 7


def test_globals_and_class_attributes_that_functions_name_are_followed() -> None:
    global level

    def make() -> Roots:
        global level
        level = 1.0
        seen.clear()
        Holder.total = 0
        return {"h": Holder(f=raise_level)}

    def train(roots: Roots) -> None:
        roots["h"].f()
        roots["h"].count()

    _relaunch(make, train)
    assert level == 1.1 and seen == [1.1] and Holder.total == 1
    level = 1.0


def test_every_kind_of_plain_value_is_restored() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    after = {
        "deque": collections.deque([1, 2], maxlen=3),
        "set": {1, "a", (2, 3)},
        "counter": collections.Counter("aab"),
        "default": collections.defaultdict(list, {1: [2]}),
        "ordered": collections.OrderedDict(b=1, a=2),
        "array": np.arange(3.0),
        "scalar": np.float32(0.1),
        "nan": float("nan"),
        "huge": list(range(2000)),
        "floats": [0.5] * 2000,
        "path": pathlib.Path("x"),
        "phase": Phase.MAIN,
        "point": Point(1, [2]),
        "bytes": b"\x00",
        "key": {(1, (2,)): 1, None: 2},
        "random": random.Random(3),
        "generator": np.random.default_rng(3),
        "cycle": cycle,
    }

    def make() -> Roots:
        return {"h": Holder(phase=Phase.WARM, point=Point(0, 0), huge=[], nan=0.0)}

    life, _ = _relaunch(make, lambda roots: vars(roots["h"]).update(after))
    held = vars(life.roots["h"])
    assert held["random"].random() == random.Random(3).random()
    assert held["generator"].random() == np.random.default_rng(3).random()
    assert held["cycle"][0] is held["cycle"] and str(held["nan"]) == "nan"
    assert held["default"].default_factory is list and held["deque"].maxlen == 3
    for name in after.keys() - {"random", "generator", "cycle", "nan", "array"}:
        assert held[name] == after[name] and type(held[name]) is type(after[name]), name
    assert list(held["ordered"]) == ["b", "a"] and held["array"].tolist() == [0, 1, 2]


def test_containers_arrays_and_generators_are_restored_in_place() -> None:
    held: dict[str, Any] = {}

    def make() -> Roots:
        held.update(
            array=np.zeros(3), set=set(), deque=collections.deque(), random=random.Random(1)
        )
        return {"h": Holder(**held)}

    def train(roots: Roots) -> None:
        h = roots["h"]
        h.array += 1
        h.set.add(1)
        h.deque.append(2)
        h.random.random()

    life, _ = _relaunch(make, train)
    assert all(getattr(life.roots["h"], name) is value for name, value in held.items())
    assert held["array"].tolist() == [1, 1, 1] and held["set"] == {1}
    reference = random.Random(1)
    reference.random()
    assert held["random"].random() == reference.random()


def test_what_the_script_set_otherwise_is_left_alone_and_named_where_training_changed_it() -> None:
    values = iter([1, 2])

    def make() -> Roots:
        value = next(values)
        return {"h": Holder(option=value, changed=value, started=time.time(), n=0, out=f"{value}")}

    def train(roots: Roots) -> None:
        roots["h"].changed, roots["h"].n, roots["h"].started = 10, 4, time.time()

    life, restorer = _relaunch(make, train)
    h = life.roots["h"]
    assert (h.option, h.changed, h.n, h.out) == (2, 2, 4, "2")
    assert list(restorer.found.differing) == ["h.changed"] and not restorer.found.missing


def test_what_on_train_begin_makes_again_gets_its_state() -> None:
    first = Life(lambda: {"h": Holder()})
    first.roots["h"].inner = Holder(n=3)
    first.roots["h"].log = [1, 2]
    kept, arrays = first.save()
    second = Life(lambda: {"h": Holder()})
    inner = second.roots["h"].inner = Holder(n=0)
    log = second.roots["h"].log = []
    restorer = second.restore(kept, arrays)
    assert inner.n == 3 and second.roots["h"].inner is inner
    assert log == [1, 2] and second.roots["h"].log is log
    assert not restorer.found.missing and restorer.wrong() == []
    third = Life(lambda: {"h": Holder()})
    assert not third.restore(kept, arrays).found.missing
    assert third.roots["h"].inner.n == 3


def test_unreadable_things_are_neither_entered_nor_reported() -> None:
    class Trap:
        @property
        def value(self) -> int:
            raise AssertionError("a property was read")

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was read")

    @dataclasses.dataclass(slots=True)
    class Slotted:
        n: int = 0

    def make() -> Roots:
        return {"h": Holder(trap=Trap(), slotted=Slotted(), lock=threading.Lock(), time=time)}

    def train(roots: Roots) -> None:
        roots["h"].slotted.n = 4
        roots["h"].lock = threading.Lock()

    life, restorer = _relaunch(make, train)
    assert life.roots["h"].slotted.n == 4 and not restorer.found.missing


class Made(Holder):
    def __new__(cls, **held: Any) -> Self:
        return super().__new__(cls)


@pytest.mark.parametrize("made", [Made, lambda: Holder(lock=threading.Lock())])
def test_a_new_object_that_a_relaunch_cannot_make_is_reported(made: Callable[[], Any]) -> None:
    """One of a class with a ``__new__`` of its own, or one that holds a lock."""
    life = Life(lambda: {"h": Holder(found=[])})
    life.roots["h"].found.append(made())
    kept, arrays = life.save()
    assert life.unsaved[0].path == "h.found[0]"
    assert "h.found[0]" in Life(lambda: {"h": Holder(found=[])}).restore(kept, arrays).found.missing


def test_the_end_of_a_walk_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rekindle.jobs.python_state.reach.MOST", 10)
    reach = Reach({"h": Holder(many=[[] for _ in range(100)])}, _nothing)
    assert reach.left_out and len(reach.nodes) < 20


def test_a_trial_that_a_callback_reports_to_is_named_where_a_pruner_listens() -> None:
    optuna = pytest.importorskip("optuna")

    class Pruning:
        def __init__(self, trial: Any) -> None:
            self.trial = trial

        def on_epoch_end(self, epoch: int) -> None:
            self.trial.report(0.5, epoch)

    def found(holder: Any, pruner: Any) -> list[str]:
        study = optuna.create_study(pruner=pruner)
        roots = {"callback": holder(study.ask())}
        return [caveat.what for caveat in trials.caveats(Reach(roots, _nothing))]

    (what,) = found(Pruning, optuna.pruners.MedianPruner())
    assert "trial callback.trial is not reported again" in what
    assert found(Pruning, optuna.pruners.NopPruner()) == []
    assert found(lambda trial: lambda: trial.params, optuna.pruners.MedianPruner()) == []
    assert found(lambda trial: lambda: trial.report(0.5, 1), optuna.pruners.MedianPruner())


def test_values_in_a_module_of_the_job_are_restored(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``import settings`` in the script or in a function, and values that training adds."""
    (tmp_path / "settings_of_test.py").write_text("count = 0\nseen = []\nuntouched = object()\n")
    (tmp_path / "lazy_of_test.py").write_text("import settings_of_test as settings\nlevel = 1\n")
    source = """
import settings_of_test as settings

def on_batch():
    import lazy_of_test
    settings.count += 1
    settings.seen.append(settings.count)
    lazy_of_test.level *= 2
    lazy_of_test.settings.best = settings.count
"""
    monkeypatch.syspath_prepend(tmp_path)

    def make() -> Roots:
        for name in ("settings_of_test", "lazy_of_test"):
            sys.modules.pop(name, None)
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(source, str(tmp_path / "train.py"), "exec"), namespace)
        importlib.import_module("lazy_of_test")
        return {"callback": namespace["on_batch"]}

    def train(roots: Roots) -> None:
        for _ in range(3):
            roots["callback"]()

    _relaunch(make, train)
    settings, lazy = sys.modules["settings_of_test"], sys.modules["lazy_of_test"]
    assert (settings.count, settings.seen, settings.best, lazy.level) == (3, [1, 2, 3], 3, 8)


@dataclasses.dataclass
class Transition:
    reward: float
    state: list[float]


class Best:
    only: "Best | None" = None

    @classmethod
    def get(cls) -> "Best":
        if cls.only is None:
            cls.only = Best()
            cls.only.losses = []
        return cls.only

    losses: list[float]


def test_objects_of_the_jobs_classes_that_training_makes_are_made_again() -> None:
    """As in a replay buffer, or an object that is made when it is first used."""

    class Memory:
        def __init__(self) -> None:
            self.seen: collections.deque[Transition] = collections.deque(maxlen=8)

        def on_batch(self, loss: float) -> None:
            shared = [loss]
            self.seen.append(Transition(loss, shared))
            Best.get().losses.append(loss)

    def make() -> Roots:
        Best.only = None
        return {"memory": Memory()}

    def train(roots: Roots) -> None:
        for loss in (0.5, 0.25):
            roots["memory"].on_batch(loss)

    life, _ = _relaunch(make, train)
    memory = life.roots["memory"]
    assert list(memory.seen) == [Transition(0.5, [0.5]), Transition(0.25, [0.25])]
    assert Best.only is not None and Best.only.losses == [0.5, 0.25]


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_one_changed_item_of_a_large_array_is_found(dtype: str, order: str) -> None:
    """A table of visits, or a replay buffer: few items change between two checkpoints."""
    table = np.zeros((1031, 2053), dtype, order=order)  # no multiple of anything
    digests = {leaves.digest_array(table)}
    places = [(0, 1), (1030, 2052), (517, 1000), (1030, 2051), (3, 2), (2, 3)]
    for place in places:
        table[place] = 1
        digests.add(leaves.digest_array(table))
        table[place] = 0
    table[0, 1], table[517, 1000] = 1, 2
    digests.add(leaves.digest_array(table))
    table[0, 1], table[517, 1000] = 2, 1
    digests.add(leaves.digest_array(table))
    assert len(digests) == len(places) + 3


def test_the_attributes_that_a_librarys_class_assigns_are_read_from_its_bytecode() -> None:
    """More of them than one byte numbers; in functions within functions; other names are none."""
    names = {f"_{number}" for number in range(600)}
    lines = [f"    self.{name} = self.read_{name}.part()" for name in sorted(names)]
    inner = "    def inner(): self.inner, self.both[0] = 1, 2"
    space: dict[str, Any] = {"__name__": "math"}
    exec("\n".join(["def method(self):", *lines, inner]), space)
    owner = type("Layer", (), {"__module__": "math", "method": space["method"]})
    assert own_code.names_written(owner) == names | {"inner"}


class Moments(NamedTuple):
    """A state as those of optax: in a tuple, and replaced at each step."""

    count: int
    mean: list[float]


def test_named_tuples_within_tuples_are_made_again() -> None:
    def make() -> Roots:
        return {"holder": Holder(state=((Moments(0, []), ()), 1))}

    def train(roots: Roots) -> None:
        roots["holder"].state = ((Moments(2, [0.5]), ()), 3)

    second, restorer = _relaunch(make, train)
    assert [] == list(restorer.found.caveats([], "there"))
    ((moments, empty), number) = second.roots["holder"].state
    assert (Moments, 2, [0.5], (), 3) == (type(moments), *moments, empty, number)
