"""Scan a script for code that can make two trainings of it differ.

The scan reads the source and proves nothing: it runs only after a difference was found.
Modules that the script imports from its own folder are also read.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MAX_FILES: Final = 50

# generators without a seed are not among them: the trainer gives them the same in each attempt
_ENTROPY: Final = frozenset(
    {
        "os.urandom",
        "uuid.uuid1",
        "uuid.uuid4",
        "secrets.randbits",
        "secrets.token_bytes",
        "secrets.token_hex",
        "secrets.choice",
        "secrets.randbelow",
        "random.SystemRandom",
        "os.getpid",
    }
)
_CLOCK: Final = frozenset(
    {
        "time.time",
        "time.time_ns",
        "time.perf_counter",
        "time.perf_counter_ns",
        "time.monotonic",
        "time.monotonic_ns",
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.datetime.today",
        "datetime.date.today",
        "tensorflow.timestamp",
    }
)
_PYTHON_IN_GRAPH: Final = frozenset(
    {"tensorflow.py_function", "tensorflow.numpy_function", "tensorflow.compat.v1.py_func"}
)
_PIPELINE: Final = frozenset({"map", "filter", "flat_map", "interleave", "scan"})
_GLOBAL_GENERATORS: Final = ("numpy.random.", "random.")
_NOT_DRAWING: Final = frozenset(
    {
        "numpy.random.default_rng",
        "numpy.random.RandomState",
        "numpy.random.seed",
        "numpy.random.SeedSequence",
        "numpy.random.Generator",
        "random.Random",
        "random.seed",
    }
)


@dataclass(frozen=True, slots=True)
class Suspect:
    """One place in the code that may be nondeterministic.

    Attributes:
        kind: entropy, clock, python, order, workers, stateful, global or device.
        file, line: its place; line 0 if it has none.
        code: its source, shortened.
        why: a sentence on the reason.
        fix: a sentence on what to do.
    """

    kind: str
    file: str
    line: int
    code: str
    why: str
    fix: str


def of_script(script: Path, *, gpus: int = 0, env: dict[str, str] | None = None) -> list[Suspect]:
    """List the suspects of a script and of the modules beside it, the likeliest kind first.

    Args:
        gpus: the job's GPUs; without op determinism their sums are not repeatable.
        env: the job's `env`.
    """
    found: list[Suspect] = []
    deterministic = (env or {}).get("TF_DETERMINISTIC_OPS", "0") not in ("0", "", "false")
    for file, tree in _sources(script):
        reader = _Reader(file.name, tree)
        reader.visit(tree)
        found += reader.found
        deterministic = deterministic or reader.deterministic
    if gpus and not deterministic:
        found.append(
            Suspect(
                "device",
                script.name,
                0,
                "",
                "On a GPU several operations sum in the order in which their threads finish, "
                "unless op determinism is on.",
                "Call `tf.config.experimental.enable_op_determinism()`, or set "
                '`env = { TF_DETERMINISTIC_OPS = "1" }` in the spec.',
            )
        )
    return sorted(found, key=lambda suspect: _ORDER.index(suspect.kind))


# the likeliest first
_ORDER: Final = ("entropy", "global", "workers", "order", "stateful", "python", "device", "clock")


def _sources(script: Path) -> Iterator[tuple[Path, ast.Module]]:
    queue, seen = [script], set[Path]()
    folder = script.parent
    while queue and len(seen) < _MAX_FILES:
        file = queue.pop(0)
        if file in seen:
            continue
        seen.add(file)
        try:
            tree = ast.parse(file.read_bytes(), file.name)
        except (OSError, SyntaxError, ValueError):
            continue
        yield file, tree
        for name in _imported(tree):
            stem = folder.joinpath(*name.split("."))
            queue += [
                path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()
            ]


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class _Reader(ast.NodeVisitor):
    """Walk one file, resolving imported names and tracking the enclosing function."""

    def __init__(self, file: str, tree: ast.Module) -> None:
        self.found: list[Suspect] = []
        self.deterministic = False
        self._file = file
        self._names = dict(_aliases(tree))
        self._in_pipeline = set(_pipeline_functions(tree))
        self._pipeline = 0
        self._reads_data = 0
        self._in_dataset = False

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        before = self._in_dataset
        bases = [self._dotted(base) or "" for base in node.bases]
        self._in_dataset = any(base.endswith(("PyDataset", "Sequence")) for base in bases)
        self.generic_visit(node)
        self._in_dataset = before

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        yields = any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in ast.walk(node))
        reads = yields or (self._in_dataset and node.name == "__getitem__")
        self._reads_data += reads
        self._pipeline += node.name in self._in_pipeline
        self.generic_visit(node)
        self._pipeline -= node.name in self._in_pipeline
        self._reads_data -= reads

    def visit_Lambda(self, node: ast.Lambda) -> None:
        piped = node in self._in_pipeline
        self._pipeline += piped
        self.generic_visit(node)
        self._pipeline -= piped

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if (
                isinstance(target, ast.Attribute)
                and target.attr in ("deterministic", "experimental_deterministic")
                and isinstance(node.value, ast.Constant)
                and node.value.value is False
            ):
                self._order(node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = self._dotted(node.func) or ""
        if name.endswith("enable_op_determinism"):
            self.deterministic = True
        if name in _ENTROPY:
            self._add(
                "entropy",
                node,
                "Its value differs in every process.",
                "Derive it from the job's seed or from a name instead.",
            )
        elif name in _CLOCK:
            self._add(
                "clock",
                node,
                "The time differs in every attempt.",
                "Use it neither in the training nor in what is saved.",
            )
        elif name in _PYTHON_IN_GRAPH:
            self._add(
                "python",
                node,
                "Python code in a data pipeline may have state that no checkpoint saves, and is "
                "prefetched ahead of the step.",
                "Let its result depend on its arguments only.",
            )
        elif self._pipeline and _draws_in_graph(name):
            self._add(
                "stateful",
                node,
                "Its state is in TensorFlow's runtime, and a map with parallel calls draws in no "
                "fixed order.",
                "Use `tf.random.stateless_*` with a seed from the element, or a map "
                "without `num_parallel_calls`.",
            )
        elif self._reads_data and _draws_globally(name):
            self._add(
                "global",
                node,
                "Data is prefetched, so that the global generator is ahead of the training, or is "
                "used in a thread.",
                "Use a separate generator, seeded with the index or the epoch.",
            )
        for keyword in node.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if keyword.arg == "deterministic" and value is False:
                self._order(node)
            elif (keyword.arg == "workers" and isinstance(value, int) and value > 1) or (
                keyword.arg == "use_multiprocessing" and value is True
            ):
                self._add(
                    "workers",
                    node,
                    "Several workers read data, each with its own generators, in no fixed order.",
                    "Let a batch depend on its index only, or use one worker.",
                )
        self.generic_visit(node)

    def _order(self, node: ast.AST) -> None:
        self._add(
            "order",
            node,
            "The pipeline may yield its elements in the order in which they are ready.",
            "Set `deterministic` to True.",
        )

    def _add(self, kind: str, node: ast.AST, why: str, fix: str) -> None:
        code = " ".join(ast.unparse(node).split())
        short = code if len(code) <= 70 else f"{code[:67]}..."
        self.found.append(Suspect(kind, self._file, getattr(node, "lineno", 0), short, why, fix))

    def _dotted(self, node: ast.expr) -> str | None:
        """Resolve ``np.random.default_rng`` to ``numpy.random.default_rng``."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        return ".".join([self._names.get(node.id, node.id), *reversed(parts)])


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    yield alias.asname, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _pipeline_functions(tree: ast.Module) -> Iterator[str | ast.Lambda]:
    """Yield lambdas and names of functions that are passed to ``map`` and similar methods."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _PIPELINE
        ):
            for argument in [*node.args, *[keyword.value for keyword in node.keywords]]:
                if isinstance(argument, ast.Lambda):
                    yield argument
                elif isinstance(argument, ast.Name):
                    yield argument.id


def _draws_in_graph(name: str) -> bool:
    return (
        name.startswith(
            (
                "tensorflow.random.",
                "tensorflow.image.random_",
                "keras.random.",
                "tensorflow.keras.random.",
            )
        )
        and "stateless" not in name
    )


def _draws_globally(name: str) -> bool:
    return name.startswith(_GLOBAL_GENERATORS) and name not in _NOT_DRAWING
