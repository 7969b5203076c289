"""``rekindle pause``: start no more jobs."""

import argparse

from rekindle.daemon.client import ask, json_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--now",
        action="store_true",
        help="also save and stop the running jobs; they return to the queue",
    )
    json_text.add_argument(parser, "print the answers as JSON")


def main(args: argparse.Namespace) -> int:
    return ask.about_queue(args, "pause", now=args.now)
