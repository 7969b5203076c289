"""Read YAML safely: no objects, tags, aliases or doubled keys, bounded depth; with lines.

Plain scalars mean what YAML 1.2 says, not what PyYAML makes of them: ``1:30`` and ``yes`` are
texts there. A number with leading zeros, which YAML 1.1 reads as octal, is left a text, so that
a key that wants a number refuses it.
"""

import functools
import re
from typing import Any, Final

_MAX_DEPTH: Final = 20
_TAG: Final = "tag:yaml.org,2002:"
_PLAIN: Final = (
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    ("int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+"), "-+0123456789"),
    (
        "float",
        re.compile(
            r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
        ),
        "-+.0123456789",
    ),
    ("null", re.compile(r"~|null|Null|NULL|"), ("~", "n", "N", "")),
    ("merge", re.compile(r"<<"), "<"),
)
"""Types of plain scalars, by their text and first letters; ``1e-3`` stays a text."""


class YamlProblem(ValueError):
    """The text is not YAML that rekindle reads; ``line`` is 1-based, where known."""

    def __init__(self, what: str, line: int | None) -> None:
        super().__init__(what)
        self.line = line


def load(text: str) -> tuple[Any, dict[str, int]]:
    """Load the value of a YAML text, and the line of each dotted key in it.

    Raises:
        YamlProblem: syntax error, alias, doubled key, or nested too deeply.
    """
    import yaml  # the keeper and the trainer import this package without it

    loader = _loader()(text)
    lines: dict[str, int] = {}

    def walk(node: Any, path: str, depth: int) -> None:
        line = node.start_mark.line + 1
        if depth > _MAX_DEPTH:
            raise YamlProblem("it is nested too deeply", line)
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
                where = key.start_mark.line + 1
                if name in seen:
                    raise YamlProblem(f"the key {name!r} stands twice", where)
                seen.add(name)
                full = f"{path}.{name}" if path else name
                lines.setdefault(full, where)
                walk(value, full, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                walk(item, path, depth + 1)

    try:
        depth = 0
        for event in yaml.parse(text, Loader=type(loader)):
            # before anything is built: an alias can grow without bound, depth can overflow
            if isinstance(event, yaml.AliasEvent):
                raise YamlProblem("aliases are not allowed", _line(event.start_mark))
            # `!!int 0123` would be octal once more
            if getattr(event, "tag", None) is not None:
                raise YamlProblem("tags are not allowed", _line(event.start_mark))
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise YamlProblem("it is nested too deeply", _line(event.start_mark))
        node = loader.get_single_node()
        if node is None:
            return None, lines
        walk(node, "", 0)
        return loader.construct_document(node), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        raise YamlProblem(str(what), _line(mark)) from error
    except (ValueError, TypeError, RecursionError) as error:
        if isinstance(error, YamlProblem):
            raise
        raise YamlProblem(str(error), None) from error
    finally:
        loader.dispose()


def dump(value: Any) -> str:
    """Write a value so that :func:`load` gives it back: texts that look like numbers are quoted."""
    import yaml

    return str(yaml.dump(value, Dumper=_dumper(), sort_keys=False, allow_unicode=True))


@functools.cache
def _loader() -> Any:
    """Make the safe loader, the C one where there is one, that resolves plain scalars as above."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return _resolving(type("_Loader", (base,), {"yaml_implicit_resolvers": {}}))


@functools.cache
def _dumper() -> Any:
    """Make the safe dumper that quotes what either version of YAML takes for no text."""
    import yaml

    return _resolving(type("_Dumper", (yaml.SafeDumper,), {}))


def _resolving(made: Any) -> Any:
    for name, pattern, first in _PLAIN:
        whole = re.compile(rf"(?:{pattern.pattern})\Z")
        made.add_implicit_resolver(_TAG + name, whole, list(first))
    return made


def _line(mark: Any) -> int | None:
    return None if mark is None else int(mark.line) + 1
