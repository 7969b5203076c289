"""``rekindle.toml`` in the home: what holds for the whole box, not for one job.

Everything has a default, so that the file need not be there. One that cannot be meant is
an error with its line, never half used: a service that starts with other limits than its
owner wrote down would find out at night.
"""

import difflib
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from rekindle.jobs import quantities
from rekindle.state.errors import ConfigError
from rekindle.state.paths import Home

FORMAT: Final = 1
AWS: Final = "http://169.254.169.254"
GCE: Final = "http://metadata.google.internal"
_MAX_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """How much code a job may bring along; sizes in bytes.

    Attributes:
        max_file_bytes: larger files are left out of the snapshot, and named.
    """

    max_bytes: int = 64 * 2**20
    max_files: int = 10_000
    max_file_bytes: int = 8 * 2**20


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Attempt logs.

    Attributes:
        max_bytes: of one attempt's log; beyond it the middle is cut out.
        keep: logs of the newest attempts of a job that are kept.
    """

    max_bytes: int = 64 * 2**20
    keep: int = 50


@dataclass(frozen=True, slots=True)
class Retention:
    """What is removed without being asked for; None for never.

    Attributes:
        max_age: seconds after the end of a job until only its last good and its best
            checkpoint are left.
        max_bytes: of the whole home; beyond it the oldest finished jobs are reduced to those
            two first.
    """

    max_age: float | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Preemption:
    """Where the box says that it will be taken away.

    Attributes:
        notice_file: a file that appears then.
        aws, gce: base URLs of the metadata services, None where they are not asked.
        poll: seconds between two looks.
    """

    notice_file: str | None = None
    aws: str | None = None
    gce: str | None = None
    poll: float = 5.0


@dataclass(frozen=True, slots=True)
class Gpus:
    """``free_memory``: the part of a GPU's memory, 0 to 1, that must be free before it is given
    to an attempt."""

    free_memory: float = 0.8


@dataclass(frozen=True, slots=True)
class Config:
    """``slots``: how many jobs without a GPU may run at once, None where the file does not say."""

    slots: int | None = None
    gpus: Gpus = field(default_factory=Gpus)
    source: SourceLimits = field(default_factory=SourceLimits)
    logs: LogLimits = field(default_factory=LogLimits)
    retention: Retention = field(default_factory=Retention)
    preemption: Preemption = field(default_factory=Preemption)


def read(home: Home) -> Config:
    """The home's configuration; the defaults where there is no file.

    Raises:
        ConfigError: it cannot be read or cannot be meant.
    """
    try:
        with home.config.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise ConfigError(
            f"The configuration cannot be read: {error.strerror}.",
            where=home.config,
            hint="Let the daemon's user read it, or remove it.",
        ) from error
    if len(data) > _MAX_BYTES:
        raise ConfigError(
            "The configuration is too long to be one.",
            where=home.config,
            hint="docs/configuration.md shows its keys.",
        )
    return parse(data, str(home.config))


def parse(data: bytes, where: str) -> Config:
    """
    Raises:
        ConfigError: with the line concerned where it is known.
    """
    try:
        text = data.decode("utf-8-sig")
        table = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(
            f"The configuration is not valid TOML: {error}.",
            where=where,
            hint="docs/configuration.md shows its keys.",
        ) from error
    version = table.pop("format", FORMAT)
    if version != FORMAT:
        raise ConfigError(
            f"The configuration is of format {version!r}; this rekindle knows {FORMAT}.",
            where=_at(text, where, "", "format"),
            hint="Install the rekindle it was written for, or write format = 1.",
        )
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in _SECTIONS:
            kind, keys = _SECTIONS[key]
            if not isinstance(value, dict):
                raise ConfigError(
                    f"`{key}` must be a table.",
                    where=_at(text, where, "", key),
                    hint=f"Write [{key}] on a line of its own.",
                )
            values[key] = kind(**_checked(value, keys, key, text, where))
        else:
            values.update(_checked({key: value}, _TOP, "", text, where))
    return Config(**values)


def _checked(
    table: dict[str, Any],
    keys: dict[str, Callable[[Any], Any]],
    section: str,
    text: str,
    where: str,
) -> dict[str, Any]:
    found = {}
    for key, value in table.items():
        full = f"{section}.{key}" if section else key
        place = _at(text, where, section, key)
        if key not in keys:
            known = [*keys, *([] if section else _SECTIONS)]
            near = difflib.get_close_matches(key, known, 1)
            raise ConfigError(
                f"There is no key `{full}`.",
                where=place,
                hint=f"Did you mean `{near[0]}`?" if near else f"Known: {', '.join(known)}.",
            )
        try:
            found[key] = keys[key](value)
        except ValueError as error:
            raise ConfigError(
                f"`{full}` is not understood: {error}.",
                where=place,
                hint="docs/configuration.md shows each key with an example.",
            ) from error
    return found


def _at(text: str, where: str, section: str, key: str) -> str:
    """``file:line`` of a key where it can be found."""
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([\w.-]+)\s*\]", line)
        if header:
            inside = header[1]
        wanted = key if inside == section else f"{section}.{key}" if not inside else None
        if (header and not section and inside == key) or (
            wanted and re.match(rf"\s*{re.escape(wanted)}\s*=", line)
        ):
            return f"{where}:{number}"
    return where


def _whole(low: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(f"expected a whole number of {low} or more, not {value!r}")
        return value

    return check


def _percent(value: Any) -> float:
    match = re.fullmatch(r"(\d{1,3})\s*%", value) if isinstance(value, str) else None
    if match is None or not 1 <= int(match[1]) <= 100:
        raise ValueError('expected a percentage such as "80%"')
    return int(match[1]) / 100


def _size(value: Any) -> int:
    return quantities.size(value if isinstance(value, str) else "")


def _seconds(value: Any) -> float:
    return quantities.seconds(value if isinstance(value, str) else "")


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError("expected an absolute path")
    return value


def _endpoint(default: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if isinstance(value, bool):
            return default if value else None
        if not isinstance(value, str) or not re.fullmatch(r"http://[\w.:\[\]-]+/?", value):
            raise ValueError(f'expected true, false or a base URL such as "{default}"')
        return value.rstrip("/")

    return check


_TOP: Final[dict[str, Callable[[Any], Any]]] = {"slots": _whole(1)}
_SECTIONS: Final[dict[str, tuple[Any, dict[str, Callable[[Any], Any]]]]] = {
    "gpus": (Gpus, {"free_memory": _percent}),
    "source": (SourceLimits, {"max_bytes": _size, "max_files": _whole(1), "max_file_bytes": _size}),
    "logs": (LogLimits, {"max_bytes": _size, "keep": _whole(1)}),
    "retention": (Retention, {"max_age": _seconds, "max_bytes": _size}),
    "preemption": (
        Preemption,
        {"notice_file": _path, "aws": _endpoint(AWS), "gce": _endpoint(GCE), "poll": _seconds},
    ),
}
