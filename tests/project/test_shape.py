"""Hold the code to its shape: small classes, and no object that sets another one's attributes."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch

from rig import ROOT

FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for part in ("state", "jobs", "daemon")
    for path in (ROOT / part).rglob("*.py")
)
MOST_LINES = 250
MOST_ATTRIBUTES = 12

FOREIGN = {
    # hooks into Keras, TensorFlow, numpy and Python, each in one module
    "jobs/keras_compat/keras3.py": (
        "_trainer.*",
        "_TRAINER.fit",
        "model._initial_epoch",
        "_rng_utils.tf",
        "adapter.generator",
    ),
    "jobs/keras_compat/backends/of_*.py": ("iterator._distributed_dataset", "_trainer.*"),
    "jobs/keras_compat/backends/eager.py": (
        "iterator._get_iterator",
        "self._iterator.data_adapter._dataset",
    ),
    "jobs/keras_compat/legacy.py": (
        "_training.Model.fit",
        "_tf_utils.*",
        "data_adapter.*",
        "adapter.generator",
    ),
    "jobs/data/keras3/eager_sources.py": ("self.adapter._dataloader",),
    "jobs/data/sampler.py": ("loader.collate_fn", "loader.worker_init_fn"),
    "jobs/data/keras3/array_source.py": ("options.*",),
    "jobs/data/legacy/adapters.py": ("options.*", "view.*"),
    "jobs/data/legacy/handler.py": ("self._view.adapter",),
    "jobs/capture/rng.py": ("kind.__init__",),
    "jobs/capture/trace_order.py": ("tracing_compilation.*",),
    "jobs/data/pipeline/caches.py": ("gen_dataset_ops.*",),
    "jobs/data/pipeline/graph.py": ("dataset_ops.*",),
    "jobs/data/pipeline/seed_stream.py": ("options.*",),
    "jobs/data/py_dataset.py": ("adapter.*", "self._adapter.*"),
    "jobs/resume/fit_stage.py": ("self._model.history", "self._model.stop_training"),
    "jobs/trainer/unfollowed.py": ("tape.gradient", "kind.__init__"),
    "jobs/seeding/trace_draws.py": ("tracing_compilation.*",),
    "jobs/seeding/unseeded.py": (
        "random.*",
        "numpy.random.default_rng",
        "source.randbits",
        "stateful_random_ops.non_deterministic_ints",
    ),
    "jobs/trainer/after_import.py": ("loader.exec_module",),
    "jobs/spare/recorder.py": ("loader.exec_module",),
    "jobs/spare/preloaded.py": ("spec.*",),
    "jobs/spare/waiting.py": ("sys.argv",),
    "jobs/trainer/script.py": ("sys.argv",),
    "jobs/trainer/source_snapshot.py": ("spec.*",),
    "jobs/attempt/shutdown.py": ("signal.*",),
    # values that a library has to be given this way
    "jobs/capture/codec.py": ("made.bit_generator.state",),
    "jobs/data/rng_tracker.py": ("value.bit_generator.state",),
    "state/ledger/*.py": ("*.row_factory",),
    "daemon/transfer/archive.py": ("info.*",),
    "daemon/submission/notebook.py": ("cell.source",),
    "daemon/verbs/*.py": ("parser.*", "*.completer"),
    "daemon/client/lookup.py": ("*.completer",),
    "daemon/verdict/decision.py": ("state.attempt_number",),
    "daemon/notify/outbox.py": ("state.attempt_number",),
}
"""Attributes of objects that are not ours, by the file that sets them."""


def assigned(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Find every attribute that is set or deleted on something else than ``self`` or ``cls``."""
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Delete):
            targets = node.targets
        for target in targets:
            for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(one, ast.Attribute) and ast.unparse(one.value) not in {"self", "cls"}:
                    yield one.lineno, ast.unparse(one)


def attributes(cls: ast.ClassDef) -> set[str]:
    """Name the attributes that a class gives its objects in ``__init__``."""
    return {
        node.attr
        for method in cls.body
        if isinstance(method, ast.FunctionDef) and method.name == "__init__"
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and ast.unparse(node.value) == "self"
    }


def test_nobody_assigns_another_objects_attribute() -> None:
    wrong = []
    for file in FILES:
        allowed = [one for path, names in FOREIGN.items() if fnmatch(file, path) for one in names]
        wrong += [
            f"{file}:{line} sets {name}"
            for line, name in assigned(ast.parse((ROOT / file).read_text()))
            if not any(fnmatch(name, pattern) for pattern in allowed)
        ]
    assert [] == wrong


def test_classes_are_small() -> None:
    large = [
        f"{file}:{node.lineno} {node.name}: {lines} lines, {len(attributes(node))} attributes"
        for file in FILES
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.ClassDef)
        for lines in [(node.end_lineno or 0) - node.lineno + 1]
        if lines > MOST_LINES or len(attributes(node)) > MOST_ATTRIBUTES
    ]
    assert [] == large


def test_a_poke_is_found() -> None:
    """The finder itself: it must see tuples, augmented assignments and deletions."""
    code = "self.a = 1\nother.b = 2\nself.c, other.d = 3, 4\nother.e += 1\ndel self.part.f"
    assert ["other.b", "other.d", "other.e", "self.part.f"] == sorted(
        name for _, name in assigned(ast.parse(code))
    )


def test_no_two_test_modules_have_one_name() -> None:
    """pytest imports them by their last name, and cannot collect two of one name together."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
