"""``rekindle help``: explain the command line, or one verb; print the manual page."""

import argparse

from rekindle.daemon.client import cli
from rekindle.daemon.help import manual
from rekindle.state.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    about = parser.add_argument(
        "about", nargs="?", metavar="VERB", help="the verb (default: an overview)"
    )
    # not `choices`: the answer to a misspelled verb names the one that is meant
    about.completer = lambda **_: list(cli.VERBS)  # type: ignore[attr-defined]
    parser.add_argument(
        "--man", action="store_true", help="print the manual page; `man -l -` formats it"
    )


def main(args: argparse.Namespace) -> int:
    if args.man:
        if args.about:
            raise UsageError("--man prints the manual of all verbs.", hint="`rekindle help --man`")
        print(manual.read(), end="")
    elif args.about:
        cli.check_verb(cli.verb_parser("help"), args.about)
        cli.verb_parser(args.about).print_help()
    else:
        cli.whole_parser().print_help()
    return 0
