"""``rekindle notify``: send a test notification to everybody whom rekindle.toml names."""

import argparse
import socket
import sys
import time

from rekindle.daemon import config
from rekindle.daemon.client import json_text, lookup
from rekindle.daemon.notify import delivery, message, targets
from rekindle.daemon.notify.notices import Notice
from rekindle.state.errors import ConfigError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Send a test notification to each target of [notify] in rekindle.toml, and say what "
        "became of it. Exit code 1: one of them failed."
    )
    json_text.add_argument(parser, "print the results as JSON")


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    settings = config.read(home).notify
    try:
        found = targets.of(settings)
    except targets.Unreadable as error:
        raise ConfigError(
            f"The URLs cannot be read: {error}.",
            where=home.config,
            hint="Let the user who runs this read `urls_file`, or correct its name.",
        ) from error
    if not found and not settings.ping:
        raise UsageError(
            "Nobody is notified: [notify] names no target.",
            where=home.config,
            hint="Write `urls`, `urls_file`, `command` or `ping`: docs/configuration.md.",
        )
    test = Notice("done", "test", "This is a test.", "", time.time())
    value = message.as_json(socket.gethostname(), str(home.root), [test])
    if not args.json and sys.stdout.isatty():
        print(f"sending to {len(found)} targets ...", file=sys.stderr)
    failed = delivery.deliver(found, value, command=settings.command, ping=settings.ping)
    shown = [(one.id, one.shown) for one in found]
    shown += [("ping", f"ping {targets.masked_url(settings.ping)}")] if settings.ping else []
    if args.json:
        results = [{"target": name, "error": failed.get(one)} for one, name in shown]
        json_text.write({"home": str(home.root), "results": results})
    else:
        for one, name in shown:
            print(f"{name}: {failed.get(one) or 'sent'}")
    return 1 if failed else 0
