"""Run the command line: find the verb's module, turn errors into text and exit codes.

Exit codes: 0 success, 1 the job failed or is held, or the system refused something, 2 wrong usage,
3 not found, 4 the home is unusable, 5 timed out. With ``--json`` an error is printed as JSON.
"""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.help.parser import SCRIPTS, Overview, Parser, nearest
from rekindle.state.errors import RekindleError
from rekindle.state.hints import name_home

_PROGRAM: Final = "rekindle"
# verb -> its line in `rekindle --help`; the module is `verbs/<verb>.py`, with `_` for `-`
VERBS: Final = {
    "run": "run the daemon",
    "init": "write a first spec for a script, with every key explained",
    "submit": "submit a spec, a script or a notebook; --dry-run only checks it",
    "ls": "list jobs, each with its state and the reason",
    "show": "show everything about a job",
    "top": "watch jobs, GPUs and host live",
    "report": "report what a night was, in one look; --html writes a page",
    "logs": "print the output of a job's script",
    "shell": "open a shell with the environment, folder, GPUs and code of a job",
    "wait": "wait for jobs to end; exit code 0: done, 1: failed, held or cancelled",
    "stop": "save a job and hold it",
    "release": "let a held job continue",
    "cancel": "end a job for good; its files are kept",
    "pause": "start no more jobs; with --now also save and stop the running ones",
    "resume": "let a paused queue continue, or use a faulty GPU again",
    "priority": "change the order of queued jobs",
    "retry": "run a job again that ended or is held",
    "extend": "train a finished job for more epochs",
    "fork": "begin a new job from a checkpoint of another one, with other arguments",
    "verify": "check ledger and checkpoints; --rebuild rebuilds the ledger",
    "verify-resume": "kill a job at random points, and compare its result with an undisturbed run",
    "doctor": "check host and home before the night; exit code 1: errors found",
    "prune": "show what could be removed; --yes removes it",
    "export-run": "write a job into one archive, to move it to another host",
    "import-run": "import a job from the archive of another host",
    "export": "write a job's model to a file that loads without rekindle",
    "install": "install the daemon as a systemd service",
    "uninstall": "remove the service; all data stays",
    "notify": "send a test notification to everybody whom rekindle.toml names",
    "demo": "train, kill it twice, and compare with an undisturbed run",
    "help": "explain a verb",
    "completion": "print what makes a shell complete verbs, options and jobs",
}
GROUPS: Final = {
    "Begin": ("run", "init", "submit", "doctor", "install", "demo"),
    "Look": ("ls", "top", "show", "logs", "shell", "report", "wait", "notify"),
    "Decide": (
        "stop",
        "release",
        "cancel",
        "retry",
        "extend",
        "fork",
        "priority",
        "pause",
        "resume",
    ),
    "Results": ("export", "export-run", "import-run", "prune", "verify", "verify-resume"),
}
"""Verbs in the order of `rekindle help`; all others stand last."""
SCRIPT_VERBS: Final = frozenset({"submit", "verify-resume", "shell", "fork"})
"""Verbs that take the arguments of a script, or a command, after `--`."""
OTHER_NAMES: Final = {
    "list": "ls",
    "ps": "ls",
    "queue": "ls",
    "status": "ls",
    "add": "submit",
    "enqueue": "submit",
    "train": "submit",
    "daemon": "run",
    "start": "run",
    "serve": "run",
    "info": "show",
    "describe": "show",
    "log": "logs",
    "tail": "logs",
    "kill": "cancel",
    "delete": "cancel",
    "rm": "cancel",
    "hold": "stop",
    "restart": "retry",
    "continue": "release",
    "branch": "fork",
    "unhold": "release",
    "gc": "prune",
    "clean": "prune",
    "check": "doctor",
    "version": "--version",
}
"""Names that other programs have for a verb."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code."""
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    words = list(sys.argv[1:] if argv is None else argv)
    # after `--` come the script's arguments: `--json` there is not ours
    words, rest = _split(words)
    args = argparse.Namespace(home=None, rest=rest, json="--json" in words)
    _print_any_character()
    try:
        parser = _parser(words)
        _check_verb(parser, words)
        # a default in the parser would overwrite a --home before the verb
        parser.parse_args(words, args)
        if rest and args.verb not in SCRIPT_VERBS:
            refusing = verb_parser(args.verb)
            refusing.refuse(f"`{refusing.prog}` takes no arguments after `--`.")
        return int(_module(args.verb).main(args))
    except RekindleError as error:
        _report(error, args)
        return error.exit_code
    except BrokenPipeError:
        # the reader has ended (`rekindle ls | head`): Python would print a traceback at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from rekindle.daemon import errors

        refused = errors.explain(error, _home(args))
        _report(refused, args)
        return refused.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not args.json:
            raise
        from rekindle.daemon import errors

        unexpected = errors.unexpected(error)
        _report(unexpected, args)
        return unexpected.exit_code


def _parser(words: list[str]) -> Parser:
    parser = Overview(
        VERBS,
        GROUPS,
        prog=_PROGRAM,
        parents=[_common()],
        description="Train Keras models overnight: a killed job is resumed, bit-identically.",
        epilog="`rekindle help VERB` explains a verb; `rekindle help --man` is the manual page.",
    )
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="print the version")
    verbs = parser.add_subparsers(
        dest="verb", required=True, metavar="VERB", title="verbs", parser_class=Parser
    )
    for verb, summary in VERBS.items():
        one = verbs.add_parser(
            verb,
            parents=[_common()],
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            script_arguments=verb in SCRIPT_VERBS,
        )
        # import only the verb that is called: `ls` must not wait for the imports of all
        if verb in words:
            _module(verb).add_arguments(one)
    return parser


def whole_parser() -> Parser:
    """Make the parser with the arguments of all verbs."""
    return _parser(list(VERBS))


def verb_parser(verb: str) -> Parser:
    """Make the parser of one verb."""
    parser = Parser(
        prog=f"{_PROGRAM} {verb}",
        parents=[_common()],
        description=f"{VERBS[verb][0].upper()}{VERBS[verb][1:]}.",
        script_arguments=verb in SCRIPT_VERBS,
    )
    _module(verb).add_arguments(parser)
    return parser


def _common() -> Parser:
    common = Parser(add_help=False)
    common.add_argument(
        "--home",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="the home (default: $REKINDLE_HOME, else that of a live daemon: yours, or the "
        "service's; `run`: that of this user)",
    )
    return common


def check_verb(parser: Parser, word: str) -> None:
    """Check that a word is a verb.

    Raises:
        UsageError: it is none; the hint names the one that is meant.
    """
    if word in VERBS:
        return
    near = OTHER_NAMES.get(word) or nearest(word, VERBS)
    hint = f"Did you mean `{_PROGRAM} {near}`?" if near else "`rekindle help` lists the verbs."
    if word.endswith((*SCRIPTS, ".toml", ".yaml", ".yml")):
        hint = f"`rekindle submit {word}` submits the file."
    parser.refuse(f"There is no verb `{word}`.", hint)


def _check_verb(parser: Parser, words: list[str]) -> None:
    """Check the word that stands where the verb belongs, with a better answer than argparse has."""
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option, mark, _ = rest.pop(0).partition("=")
        if option not in parser.options():
            parser.refuse_option(option)
        if option != "--home":
            return  # --help and --version need no verb
        if not mark and not rest:
            return  # argparse reports that the value is missing
        del rest[: 0 if mark else 1]
    if not rest:
        parser.refuse("No verb is given.", "`rekindle help` lists the verbs.")
    check_verb(parser, rest[0])


def _complete() -> None:
    """Answer a shell that asks how the line could continue, and end the process."""
    from rekindle.daemon.help import completion

    completion.answer(_parser)


def _print_any_character() -> None:
    """Escape what the encoding of the output does not have: it must not end a verb."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _report(error: RekindleError, args: argparse.Namespace) -> None:
    if args.json:
        from rekindle.daemon.client import json_text

        json_text.write_error(error)
        return
    if "JOURNAL_STREAM" in os.environ:
        from rekindle.daemon import log

        if log.under_journal() and log.refuse(error):
            return
    print(f"rekindle: {name_home(str(error), args.home)}", file=sys.stderr)


def _home(args: argparse.Namespace) -> Path | None:
    from rekindle.daemon.client import lookup

    try:
        return lookup.choose(args.home).home.root
    except (OSError, RekindleError):
        return None  # the current folder was removed, or the user has no home folder


def _module(verb: str) -> Any:
    return importlib.import_module(f"rekindle.daemon.verbs.{verb.replace('-', '_')}")


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


class _Version(argparse.Action):
    """Print the version, looked up on demand: the lookup is slow at each start."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        print(f"rekindle {_version()}")
        parser.exit()


def _version() -> str:
    from rekindle.jobs import provenance

    return provenance.version("rekindle") or "(not installed)"
