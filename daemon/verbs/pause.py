"""``rekindle pause``: the queue starts nothing new."""

import argparse

from rekindle.daemon.client import ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--now", action="store_true", help="also save and end what runs; it goes back to the queue"
    )


def main(args: argparse.Namespace) -> int:
    return ask.about_queue(args, "pause", now=args.now)
