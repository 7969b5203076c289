"""Write the JSON schemas of specs and `rekindle.toml`, for editors.

``python -m rekindle.daemon.schemas docs`` writes both files into a folder.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.config import CONFIG
from rekindle.daemon.spec.fields import Field, Table
from rekindle.daemon.spec.job_fields import SPEC, WHAT_RUNS

_DIALECT: Final = "http://json-schema.org/draft-07/schema#"  # what taplo and VS Code understand


def texts() -> dict[str, str]:
    """Return the text of each schema file by its name."""
    spec = _schema(SPEC) | {"oneOf": [{"required": [key]} for key in WHAT_RUNS]}
    made = {"spec.schema.json": spec, "config.schema.json": _schema(CONFIG)}
    return {
        name: json.dumps({"$schema": _DIALECT} | schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in made.items()
    }


def _schema(table: Table) -> dict[str, Any]:
    properties = {field.name: _property(field) for field in table.fields}
    properties |= {section.name: _schema(section) for section in table.sections}
    schema: dict[str, Any] = {"description": table.doc, "type": "object"}
    if table.free is not None:
        return schema | {
            "propertyNames": dict(table.free.names.schema),
            "additionalProperties": dict(table.free.values.schema),
        }
    return schema | {"properties": properties, "additionalProperties": False}


def _property(field: Field) -> dict[str, Any]:
    schema = {"description": field.doc} | dict(field.kind.schema)
    if field.default is not None:
        schema["default"] = field.default
    if field.example is not None:
        schema["examples"] = [field.example]
    return schema


def main(folder: Path) -> None:
    """Write the schema files into a folder."""
    for name, text in texts().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
