"""The daemon's own log: structlog, pretty on a terminal, one JSON object a line elsewhere."""

import logging
import sys
from typing import Final, TextIO

import structlog
from structlog.typing import Processor

FORMATS: Final = ("auto", "console", "json")


def configure(style: str = "auto", stream: TextIO | None = None) -> None:
    """Sets up structlog for this process.

    Args:
        style: one of :data:`FORMATS`; ``auto`` is pretty on a terminal and JSON elsewhere.
    """
    out = stream or sys.stderr
    pretty = style == "console" or (style == "auto" and out.isatty())
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=not pretty),
    ]
    if pretty:
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty()))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
