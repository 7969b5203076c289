"""Reading YAML safely: no objects, no aliases, no doubled keys, bounded depth; with lines."""

from typing import Any, Final

_MAX_DEPTH: Final = 20


class YamlProblem(ValueError):
    """The text is not YAML that a spec may use; ``line`` is 1-based, where known."""

    def __init__(self, what: str, line: int | None) -> None:
        super().__init__(what)
        self.line = line


def load(text: str) -> tuple[Any, dict[str, int]]:
    """The value of a YAML text, and the line of each dotted key in it.

    Raises:
        YamlProblem: syntax error, alias, doubled key, or nested too deeply.
    """
    import yaml  # the keeper and the trainer import this package without it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
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


def _line(mark: Any) -> int | None:
    return None if mark is None else int(mark.line) + 1
