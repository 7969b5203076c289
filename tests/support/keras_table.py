"""Write the table of known functions of Keras, and docs/compatibility.md, from killed trainings.

``keras_table.py record [NAME ...]`` makes each environment, takes the digests of its Keras for
known, kills trainings in it (tests/keras) and keeps the digests only if these ended identical.
``keras_table.py digests`` prints those of the Keras it runs with.
"""

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "jobs" / "keras_compat" / "known.py"
RESULTS = ROOT / "tests" / "keras" / "results.json"
PAGE = ROOT / "docs" / "compatibility.md"
TABLE_OF_PAGE = (
    "<!-- table: written by `make test-keras RECORD=1` -->\n\n",
    "\n<!-- end of table -->\n",
)
COLUMNS = "| Keras | backend | Python | resumed | proved | on |\n|---|---|---|---|---|---|\n"
HEAD = '''"""Functions of Keras in its tested versions: name, digest, versions that have it.

Written by `make test-keras RECORD=1`, from versions in which killed trainings ended identical.
"""

from typing import Final

'''

sys.path.insert(0, str(ROOT / ".importroot"))


def digests() -> None:
    """Print versions and digests of this environment as JSON."""
    from rekindle.jobs.keras_compat import followed, keras_support, parts

    keras = _keras()
    legacy = keras_support.is_legacy(keras)
    backend = followed.backend_of(keras)
    table = parts.legacy(keras.__name__) if legacy else parts.KERAS3[backend]
    found = {
        name: value
        for group in table.groups
        for name, value in parts.of_group(group, table).items()
    }
    answer = {
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "backend": backend,
        "library": sys.modules[backend].__version__,
        "keras": keras.__version__,
        "package": keras.__name__,
        "legacy": legacy,
        "digests": found,
    }
    print(json.dumps(answer))


def _keras() -> Any:
    """Import the Keras of this environment."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        import keras

        return keras
    import tensorflow as tf

    # with TF_USE_LEGACY_KERAS another Keras than `keras`
    return sys.modules[str(tf.keras.Model.__module__).partition(".")[0]]


def write_table(answers: list[dict[str, Any]]) -> None:
    """Write the table of the digests in these answers."""
    from rekindle.jobs.keras_compat.keras_support import release

    known: dict[str, dict[str, set[str]]] = {}
    answers = [answer for answer in answers if answer["exact"]]
    for answer in answers:
        for name, value in answer["digests"].items():
            known.setdefault(name, {}).setdefault(value, set()).add(answer["keras"])
    tested: dict[str, set[str]] = {"": set(), "LEGACY_": set(), "JAX_": set(), "TORCH_": set()}
    for answer in answers:
        kind = "legacy" if answer.get("legacy") else answer.get("backend", "tensorflow")
        tested["" if kind == "tensorflow" else f"{kind.upper()}_"].add(answer["keras"])
    lines = [
        HEAD,
        *(
            f"{kind}TESTED: Final = {tuple(sorted(some, key=release))!r}\n\n"
            for kind, some in tested.items()
        ),
        "KNOWN: Final[dict[str, dict[str, str]]] = {\n",
    ]
    for name, values in known.items():
        rows = {value: sorted(those, key=release) for value, those in values.items()}
        lines.append(f"    {name!r}: {{\n")
        for value, those in sorted(rows.items(), key=lambda row: release(row[1][0])):
            lines.append(f"        {value!r}: {' '.join(those)!r},\n")
        lines.append("    },\n")
    TABLE.write_text("".join(lines) + "}\n")
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", TABLE], check=True)


def write_page(answers: list[dict[str, Any]]) -> None:
    """Write the rows of docs/compatibility.md."""
    before, _, rest = PAGE.read_text().partition(TABLE_OF_PAGE[0])
    after = rest.partition(TABLE_OF_PAGE[1])[2]
    rows = [
        f"| {one.get('package', 'keras')} {one['keras']} | {_library(one)} | {one['python']} | "
        f"{'to the batch' if one['exact'] else 'from whole epochs'} | "
        f"{one['proved']} | {one['on']} |\n"
        for one in answers
    ]
    PAGE.write_text(f"{before}{TABLE_OF_PAGE[0]}{COLUMNS}{''.join(rows)}{TABLE_OF_PAGE[1]}{after}")


def _library(answer: dict[str, Any]) -> str:
    """Name the backend of an answer, and its version; older ones have TensorFlow alone."""
    names = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
    release = answer.get("library") or answer["tensorflow"]
    return f"{names[answer.get('backend', 'tensorflow')]} {release}"


def record(names: list[str]) -> int:
    """Try environments; return the number of those that failed."""
    import keras_environments

    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    failed = 0
    for environment in keras_environments.chosen(",".join(names) or "all"):
        if environment.loops:
            continue
        asked = [environment.make(), str(Path(__file__)), "digests"]
        env = {**os.environ, **environment.variables}
        answer = json.loads(subprocess.run(asked, env=env, capture_output=True, check=True).stdout)
        answer["exact"] = environment.exact
        before = TABLE.read_text()
        write_table([*(one for name, one in results.items() if name != environment.name), answer])
        command = [sys.executable, "-m", "pytest", "-q", "-rs", "tests/keras"]
        proof = ROOT / ".pytest_cache" / f"proof-{environment.name}.json"
        env = {
            **os.environ,
            "REKINDLE_KERAS": environment.name,
            "REKINDLE_KERAS_RECORD": str(proof),
        }
        if subprocess.run(command, cwd=ROOT, env=env).returncode:
            TABLE.write_text(before)
            failed += 1
            continue
        on = dt.date.today().isoformat()
        results[environment.name] = {**answer, **json.loads(proof.read_text()), "on": on}
        proof.unlink()
        known = [results[name] for name in keras_environments.ENVIRONMENTS if name in results]
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        write_table(known)
        write_page(known)
    return failed


if __name__ == "__main__":
    if sys.argv[1:2] == ["digests"]:
        digests()
    elif sys.argv[1:2] == ["record"]:
        sys.exit(record(sys.argv[2:]))
    else:
        sys.exit(__doc__)
