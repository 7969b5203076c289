"""``rekindle cancel``: end jobs for good; their files are kept."""

import argparse

from rekindle.daemon.client import ask, json_text, lookup
from rekindle.state.lifecycle import OPEN


def add_arguments(parser: argparse.ArgumentParser) -> None:
    lookup.add_jobs(parser, states=OPEN)
    json_text.add_argument(parser, "print the answers as JSON")


def main(args: argparse.Namespace) -> int:
    return ask.about_job(args, "cancel")
