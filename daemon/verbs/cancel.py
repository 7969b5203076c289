"""``rekindle cancel``: end jobs for good; their files are kept."""

import argparse

from rekindle.daemon.client import ask, json_text, lookup


def add_arguments(parser: argparse.ArgumentParser) -> None:
    lookup.add_jobs(parser)
    json_text.add_argument(parser, "print the answers as JSON")


def main(args: argparse.Namespace) -> int:
    return ask.about_job(args, "cancel")
