"""Digest the functions of Keras that exact resume rests on; write the table of known ones.

Run in an environment it prints its digests as JSON: ``keras_table.py digests``. With the answers
of several environments on standard input, one in a line, ``keras_table.py merge`` adds them to
``jobs/keras_compat/known.py``.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "jobs" / "keras_compat" / "known.py"
HEAD = '''"""Functions of Keras in its tested versions: name, digest, versions that have it.

Written by `make test-keras` with RECORD=1, from versions in which killed trainings ended identical.
"""

from typing import Final

'''


def digest() -> None:
    """Print version and digests of this environment's Keras."""
    sys.path.insert(0, str(ROOT / ".importroot"))
    import keras

    from rekindle.jobs.keras_compat import parts

    found = {name: value for group in parts.GROUPS for name, value in parts.of_group(group).items()}
    print(json.dumps({"keras": keras.__version__, "digests": found}))


def merge() -> None:
    """Add the answers on standard input to the table."""
    sys.path.insert(0, str(ROOT / ".importroot"))
    from rekindle.jobs.keras_compat.keras_support import release
    from rekindle.jobs.keras_compat.known import KNOWN, TESTED

    versions = {
        name: {d: set(v.split()) for d, v in known.items()} for name, known in KNOWN.items()
    }
    tested = set(TESTED)
    for line in sys.stdin:
        answer = json.loads(line)
        tested.add(answer["keras"])
        for name, value in answer["digests"].items():
            for others in versions.setdefault(name, {}).values():
                others.discard(answer["keras"])
            versions[name].setdefault(value, set()).add(answer["keras"])
    lines = [
        HEAD,
        f"TESTED: Final = {tuple(sorted(tested, key=release))!r}\n\n",
        "KNOWN: Final[dict[str, dict[str, str]]] = {\n",
    ]
    for name, known in versions.items():
        rows = {value: sorted(those, key=release) for value, those in known.items() if those}
        lines.append(f"    {name!r}: {{\n")
        for value, those in sorted(rows.items(), key=lambda row: release(row[1][0])):
            lines.append(f"        {value!r}: {' '.join(those)!r},\n")
        lines.append("    },\n")
    TABLE.write_text("".join(lines) + "}\n")


if __name__ == "__main__":
    {"digests": digest, "merge": merge}[sys.argv[1]]()
