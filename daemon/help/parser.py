"""Parse a command line; report wrong usage with the verb's usage and the nearest option."""

import argparse
import difflib
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from rekindle.state.errors import UsageError

_UNWRAPPED: Final = 10_000
"""Width (columns) of what goes into a pipe: `grep` gets whole lines."""
_NARROW: Final = 60
"""Width (columns) of a terminal below which the texts get lines of their own."""
SCRIPTS: Final = (".py", ".ipynb")
"""Endings of files whose own arguments follow `--`."""


class Help(argparse.HelpFormatter):
    """Wrap at the edge of a terminal, and nowhere in a pipe."""

    def __init__(self, prog: str, **given: Any) -> None:
        columns = columns_of_output()
        if columns < _NARROW:
            given["max_help_position"] = 6
        super().__init__(prog, **{"width": columns - 2, **given})


class Verbatim(Help, argparse.RawDescriptionHelpFormatter):
    """Leave the lines of a description as they are."""


class Parser(argparse.ArgumentParser):
    """Raise wrong usage as an error like every other, so that it is printed in one way.

    An option cannot be abbreviated: an abbreviation in a script would change its meaning with the
    next option that begins in the same way.

    Args:
        script_arguments: whether the verb takes arguments of a script after ``--``.
    """

    def __init__(self, *, script_arguments: bool = False, **given: Any) -> None:
        super().__init__(**{"formatter_class": Help, "allow_abbrev": False, **given})
        self._script_arguments = script_arguments

    def error(self, message: str) -> NoReturn:
        self.refuse(f"{message[:1].upper()}{message[1:].rstrip('.')}.")

    def refuse(self, what: str, hint: str = "") -> NoReturn:
        """Report wrong usage.

        Raises:
            UsageError: always, with the usage of this parser behind the hint.
        """
        usage = " ".join(self.format_usage().removeprefix("usage: ").split())
        program, _, verb = self.prog.partition(" ")
        hint = hint or f"`{program} help{' ' if verb else ''}{verb}` explains it."
        raise UsageError(what, hint=f"{hint}\n  usage: {usage}")

    def refuse_option(self, name: str) -> NoReturn:
        """Report an option that this parser does not have.

        Raises:
            UsageError: always.
        """
        near = nearest(name, self.options())
        self.refuse(
            f"`{self.prog}` has no option `{name}`.", f"Did you mean `{near}`?" if near else ""
        )

    def parse_known_args(  # type: ignore[override]  # the overloads of typeshed are for callers
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; refuse what is left over, naming this parser and not the one above it."""
        words = list(sys.argv[1:] if args is None else args)
        found, left = super().parse_known_args(words, namespace)
        if left:
            self._refuse_left(words, left)
        return found, left

    def _refuse_left(self, words: list[str], left: list[str]) -> NoReturn:
        option = next((word for word in left if word.startswith("-")), None)
        script = next((word for word in words if word.endswith(SCRIPTS)), None)
        hint = ""
        if option is None:
            what = f"`{self.prog}` takes no further argument: {shlex.join(left)}."
        else:
            name = option.partition("=")[0]
            what = f"`{self.prog}` has no option `{name}`."
            near = nearest(name, self.options())
            hint = f"Did you mean `{near}`?" if near else ""
        if self._script_arguments and script is not None:
            mine, its = self._divide(words, script)
            command = shlex.join([*self.prog.split(), *mine, script, "--", *its])
            hint = f"{hint} Arguments of the script follow `--`: `{command}`.".strip()
        self.refuse(what, hint)

    def options(self) -> list[str]:
        """List the options in all their forms."""
        return [name for action in self._actions for name in action.option_strings]

    def _divide(self, words: list[str], script: str) -> tuple[list[str], list[str]]:
        """Separate the options of this verb from the arguments that a script would get."""
        takes = {name: action for action in self._actions for name in action.option_strings}
        mine: list[str] = []
        its: list[str] = []
        rest = list(words)
        rest.remove(script)
        while rest:
            word = rest.pop(0)
            action = takes.get(word.partition("=")[0])
            (mine if action is not None else its).append(word)
            if action is not None and action.nargs is None and "=" not in word and rest:
                mine.append(rest.pop(0))
        return mine, its


class Overview(Parser):
    """List the verbs in groups, in place of one long list.

    Args:
        verbs: the summary of each verb.
        groups: titles with their verbs; others are listed last.
    """

    def __init__(
        self, verbs: Mapping[str, str], groups: Mapping[str, Sequence[str]], **given: Any
    ) -> None:
        super().__init__(**given)
        self._verbs = verbs
        grouped = {verb for names in groups.values() for verb in names}
        rest = [verb for verb in verbs if verb not in grouped]
        self._groups = {**groups, "Other": rest}

    def format_help(self) -> str:
        """Compose the help."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        parts = [formatter.format_help().rstrip()]
        width = max(map(len, self._verbs)) + 4
        for title, names in self._groups.items():
            lines = [self._line(name, width) for name in names if name in self._verbs]
            parts.append("\n".join([f"{title}:", *lines]))
        formatter = self._get_formatter()
        formatter.start_section("options")
        formatter.add_arguments([one for one in self._actions if one.option_strings])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return "\n\n".join([*parts, formatter.format_help()])

    def _line(self, verb: str, width: int) -> str:
        columns = columns_of_output()
        indent = " " * (width if columns >= _NARROW else 6)
        first = f"  {verb}".ljust(width) if columns >= _NARROW else f"  {verb}\n{indent}"
        text = textwrap.fill(
            self._verbs[verb], columns - 2, initial_indent=indent, subsequent_indent=indent
        )
        return first + text.lstrip()


def columns_of_output() -> int:
    """Return the width of a terminal; a pipe has no end."""
    # without standard streams there is none
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if on_terminal else _UNWRAPPED


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most similar, None if none is."""
    near = difflib.get_close_matches(word, list(known), 1, cutoff=0.6)
    return near[0] if near else None
