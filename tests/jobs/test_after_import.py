"""Actions after an import, whatever imports the module first and however it is found."""

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.jobs.trainer.after_import import AfterImport


class Watch:
    """Record the actions of an :class:`AfterImport`."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.failed: list[tuple[str, BaseException]] = []
        self.finder = AfterImport(lambda name, error: self.failed.append((name, error)))

    def on(self, name: str, *, outside: tuple[str, ...] = ()) -> None:
        self.finder.add(name, lambda module: self.ran.append(module.__name__), outside=outside)


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Write two packages that import each other, as Keras and TensorFlow do."""
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "__init__.py").write_text(
        "import importlib, importlib.util\n"
        "found = importlib.util.find_spec('inner')\n"  # a probe before the import
        "try:\n    importlib.import_module('inner.part')\n"
        "except (ImportError, AttributeError):\n    pass\n"
        "ready = True\n"
    )
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "__init__.py").write_text("import outer\nvalue = 1\n")
    (tmp_path / "inner" / "part.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    before, finders = set(sys.modules), list(sys.meta_path)
    yield Watch()
    sys.meta_path[:] = finders
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_probe_does_not_consume_the_hook(watch: Watch) -> None:
    watch.on("inner")
    watch.finder.install()
    spec = importlib.util.find_spec("inner")
    assert spec is not None and spec.loader is not None
    assert "value = 1" in (spec.loader.get_source("inner") or "")  # type: ignore[attr-defined]
    assert [] == watch.ran
    importlib.import_module("inner")
    assert ["inner"] == watch.ran


@pytest.mark.parametrize("first", ["outer", "inner", "inner.part"])
def test_the_action_runs_once_and_outside_of_a_half_executed_package(
    watch: Watch, first: str
) -> None:
    seen: list[bool] = []
    watch.finder.add(
        "inner",
        lambda module: seen.append(hasattr(sys.modules["outer"], "ready")),
        outside=("outer",),
    )
    watch.finder.install()
    importlib.import_module(first)
    importlib.import_module("outer")
    assert [True] == seen


def test_a_module_imported_already_runs_the_action(watch: Watch) -> None:
    """As in a forked child of a process that has imported it."""
    importlib.import_module("inner")
    watch.on("inner")
    watch.finder.install()
    assert ["inner"] == watch.ran


def test_a_finder_in_front_that_supplies_the_module_is_noticed(watch: Watch) -> None:
    watch.on("supplied")
    watch.finder.install()

    class Front:
        @staticmethod
        def find_spec(name: str, path: object, target: object = None) -> object:
            if name != "supplied":
                return None
            return importlib.util.spec_from_loader(name, Front)  # type: ignore[arg-type]

        @staticmethod
        def create_module(spec: object) -> None:
            return None

        @staticmethod
        def exec_module(module: types.ModuleType) -> None:
            module.value = 2  # type: ignore[attr-defined]

    sys.meta_path.insert(0, Front)  # type: ignore[arg-type]
    importlib.import_module("supplied")
    importlib.import_module("inner")
    assert ["supplied"] == watch.ran


def test_a_lazy_loader_runs_the_action_when_the_module_is_executed(watch: Watch) -> None:
    watch.on("inner")
    watch.finder.install()
    spec = importlib.util.find_spec("inner")
    assert spec is not None and spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["inner"] = module
    spec.loader.exec_module(module)
    assert [] == watch.ran
    assert 1 == module.value
    assert ["inner"] == watch.ran


def test_an_import_that_fails_is_hooked_when_it_succeeds(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("raise ImportError('not yet')\n")
    watch.on("late")
    watch.finder.install()
    with pytest.raises(ImportError, match="not yet"):
        importlib.import_module("late")
    assert [] == watch.ran
    (tmp_path / "late.py").write_text("value = 'now it exists'\n")
    importlib.invalidate_caches()
    importlib.import_module("late")
    assert ["late"] == watch.ran


def test_an_error_of_the_action_is_reported_although_the_importer_swallows_it(watch: Watch) -> None:
    def fails(module: types.ModuleType) -> None:
        raise AttributeError("no such loop")

    watch.finder.add("inner.part", fails)
    watch.finder.install()
    importlib.import_module("outer")  # with `except (ImportError, AttributeError): pass`
    assert [("inner.part", "no such loop")] == [(n, str(e)) for n, e in watch.failed]
