"""Read ``rekindle.toml`` in the home: settings of the host, not of one job.

Every key has a default and the file is optional. An invalid one is an error with its line and is
never half used: a service would run all night with limits that its owner did not write.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from rekindle.daemon.spec.document import Document, Unreadable
from rekindle.daemon.spec.fields import Field, Problem, Table
from rekindle.daemon.spec.fields import read as read_fields
from rekindle.daemon.spec.kinds import (
    FLAG,
    PERCENT,
    SECONDS,
    SIZE,
    UMASK,
    Kind,
    Wrong,
    read_texts,
    whole,
)
from rekindle.state.errors import ConfigError
from rekindle.state.paths import Home

FORMAT: Final = 1
AWS: Final = "http://169.254.169.254"
GCE: Final = "http://metadata.google.internal"
_MAX_BYTES: Final = 256 * 1024
_PAGE: Final = "docs/configuration.md"


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """Limit the code that a job may bring along; sizes in bytes.

    Attributes:
        max_file_bytes: larger files are left out of the snapshot, and named.
    """

    max_bytes: int = 64 * 2**20
    max_files: int = 10_000
    max_file_bytes: int = 8 * 2**20


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Limit the logs of attempts.

    Attributes:
        max_bytes: of one attempt's log; beyond it the middle is cut out.
        keep: logs of the newest attempts of a job that are kept.
    """

    max_bytes: int = 64 * 2**20
    keep: int = 50


@dataclass(frozen=True, slots=True)
class Retention:
    """Limit what is kept; None for no limit.

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
    """Say where a notice appears that the host will be taken away.

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
    """Say when a GPU is free, and when it is in trouble.

    Attributes:
        free_memory: the part of its memory, 0 to 1, that must be free before an attempt gets it.
        silent: seconds without an answer of the driver after which no attempt gets a GPU.
        slow_after: seconds of clocks reduced by heat after which no attempt gets a GPU.
    """

    free_memory: float = 0.8
    silent: float = 30.0
    slow_after: float = 180.0


@dataclass(frozen=True, slots=True)
class PerUser:
    """Limit what one user may have at once; None for no limit.

    Attributes:
        max_waiting: jobs that are queued or waiting; further specs are refused.
        max_running: jobs that have an attempt; further ones wait.
        max_gpus: GPUs of all these jobs together.
    """

    max_waiting: int | None = None
    max_running: int | None = None
    max_gpus: int | None = None


NOTICES: Final = ("done", "failed", "held", "refused", "interrupted", "disk")
"""Kinds of notices."""


@dataclass(frozen=True, slots=True)
class Notify:
    """Say who is notified, of what, and how often.

    Attributes:
        urls: of apprise; each may hold a password or a token.
        urls_file: a file with more of them, one a line.
        command: program and arguments that get each message as JSON.
        on: the kinds of notices.
        interrupted: interruptions of a job beyond which there is a notice.
        batch: seconds for which notices are collected into one message.
        max_per_hour: messages; what is beyond waits.
        disk_free: free share of the home's disk, 0 to 1, below which there is a notice.
        ping: a URL that is called each day while the daemon works.
        ping_at: minutes after midnight, local time.
    """

    urls: tuple[str, ...] = field(default=(), repr=False)
    urls_file: str | None = None
    command: tuple[str, ...] = ()
    on: tuple[str, ...] = NOTICES
    interrupted: int = 3
    batch: float = 60.0
    max_per_hour: int = 12
    disk_free: float = 0.1
    ping: str | None = field(default=None, repr=False)
    ping_at: int = 7 * 60

    def __bool__(self) -> bool:
        return bool(self.urls or self.urls_file or self.command or self.ping)


@dataclass(frozen=True, slots=True)
class Daemon:
    """Say what the daemon does beside the jobs themselves.

    Attributes:
        warm_spares: an interrupted job has an interpreter ready for its next attempt.
    """

    warm_spares: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """Hold the settings of one home.

    Attributes:
        slots: how many jobs without a GPU may run at once, None where the file does not say.
        umask: of jobs whose spec has none; None for that of the daemon.
    """

    slots: int | None = None
    umask: int | None = None
    daemon: Daemon = field(default_factory=Daemon)
    gpus: Gpus = field(default_factory=Gpus)
    source: SourceLimits = field(default_factory=SourceLimits)
    logs: LogLimits = field(default_factory=LogLimits)
    retention: Retention = field(default_factory=Retention)
    preemption: Preemption = field(default_factory=Preemption)
    per_user: PerUser = field(default_factory=PerUser)
    notify: Notify = field(default_factory=Notify)


def read(home: Home) -> Config:
    """Read the home's configuration; the defaults where there is no file.

    Raises:
        ConfigError: it cannot be read, or is invalid.
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
            f"The configuration has more than {_MAX_BYTES} bytes.",
            where=home.config,
            hint=f"{_PAGE} shows its keys.",
        )
    return parse(data, str(home.config))


def parse(data: bytes, where: str) -> Config:
    """Read a configuration from the text of its file.

    Raises:
        ConfigError: with the line concerned where it is known.
    """
    try:
        document = Document(data, toml=True, noun="configuration", page=_PAGE)
    except Unreadable as error:
        place = f"{where}:{error.line}" if error.line else where
        raise ConfigError(error.what, where=place, hint=error.hint) from error
    values, problems = read_fields(document.table, CONFIG)
    version = document.table.get("format", FORMAT)
    if version != FORMAT:
        what = f"The configuration is of format {version!r}; this rekindle knows {FORMAT}."
        hint = f"Install the rekindle it was written for, or write format = {FORMAT}."
        problems.insert(0, Problem(what, hint, "format"))
    if problems:
        raise _error(problems, where, document)
    values.pop("format", None)
    sections = {
        section.name: section.makes(**values.pop(section.name))
        for section in CONFIG.sections
        if section.makes is not None
    }
    return Config(**values, **sections)


def _error(problems: list[Problem], where: str, document: Document) -> ConfigError:
    first = problems[0]
    rest = "".join(f"\n  also: {other.what} ({other.hint})" for other in problems[1:])
    line = document.line(first.key) if first.key else None
    return ConfigError(
        first.what,
        where=f"{where}:{line}" if line else where,
        hint=f"{first.hint} {_PAGE} shows each key.{rest}",
    )


def _read_path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise Wrong("must be an absolute path", 'For example "/run/preempted".')
    return value


def _read_format(value: Any) -> Any:
    return value  # the version is compared before anything else is reported


def _endpoint(default: str) -> Kind:
    def check(value: Any) -> str | None:
        if isinstance(value, bool):
            return default if value else None
        if not isinstance(value, str) or not re.fullmatch(_URL, value):
            raise Wrong("must be true, false or a base URL", f'For example "{default}".')
        return value.rstrip("/")

    return Kind(check, {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": _URL}]})


def _read_urls(value: Any) -> tuple[str, ...]:
    # no message shows a value: it may hold a password
    if not isinstance(value, list) or not all(
        isinstance(one, str) and "://" in one and "\0" not in one for one in value
    ):
        raise Wrong(
            "must be a list of URLs that apprise knows",
            'For example ["ntfys://example.org/nights"]; `urls_file` names a file with them.',
        )
    return tuple(value)


def _read_command(value: Any) -> tuple[str, ...]:
    command = read_texts(value)
    if not command or not command[0].startswith("/"):
        raise Wrong(
            "must be a program with an absolute path, and its arguments",
            'For example ["/usr/local/bin/tell", "--night"].',
        )
    return tuple(command)


def _read_notices(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not set(value) <= set(NOTICES):
        raise Wrong(f"must be a list of {', '.join(NOTICES)}", 'For example ["held", "failed"].')
    return tuple(value)


def _read_ping(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(_PING, value):
        raise Wrong("must be a URL of http or https", 'For example "https://hc-ping.com/UUID".')
    return value


def _read_time_of_day(value: Any) -> int:
    found = re.fullmatch(_TIME, value) if isinstance(value, str) else None
    if found is None or int(found[1]) > 23 or int(found[2]) > 59:
        raise Wrong("must be a time of day", 'For example "07:00".')
    return int(found[1]) * 60 + int(found[2])


_PING: Final = r"^https?://\S+$"
_TIME: Final = r"^(\d{1,2}):(\d{2})$"
_URL: Final = r"^http://[\w.:\[\]-]+/?$"
_PATH: Final = Kind(_read_path, {"type": "string", "pattern": "^/"})

CONFIG: Final = Table(
    "",
    "Settings of a rekindle home (rekindle.toml).",
    (
        Field("format", Kind(_read_format, {"const": FORMAT}), "Format of this file.", FORMAT),
        Field(
            "slots", whole(1), "Jobs without a GPU that may run at once. Not given: 1.", example=2
        ),
        Field(
            "umask",
            UMASK,
            "Umask of jobs whose spec has none. Not given: the daemon's.",
            example="002",
        ),
    ),
    (
        Table(
            "daemon",
            "What the daemon does beside the jobs themselves.",
            (
                Field(
                    "warm_spares",
                    FLAG,
                    "From its second attempt on, a job has an interpreter ready that has imported "
                    "its libraries: a relaunch then takes a third of the time. It takes about "
                    "300 MB for each such job.",
                    False,
                ),
            ),
            makes=Daemon,
        ),
        Table(
            "gpus",
            "When a GPU is free, and when it is in trouble.",
            (
                Field(
                    "free_memory",
                    PERCENT,
                    "Part of a GPU's memory that must be free before an attempt gets it.",
                    "80%",
                ),
                Field(
                    "silent",
                    SECONDS,
                    "A driver that does not answer for so long is in trouble.",
                    "30s",
                ),
                Field(
                    "slow_after",
                    SECONDS,
                    "No attempt gets a GPU whose clocks heat has reduced for so long.",
                    "3min",
                ),
            ),
            makes=Gpus,
        ),
        Table(
            "source",
            "Limits of the snapshot of a job's code.",
            (
                Field("max_bytes", SIZE, "A larger snapshot refuses the spec.", "64MiB"),
                Field("max_files", whole(1), "More files refuse the spec.", 10_000),
                Field("max_file_bytes", SIZE, "Larger files are left out, and named.", "8MiB"),
            ),
            makes=SourceLimits,
        ),
        Table(
            "logs",
            "Limits of the logs of attempts.",
            (
                Field(
                    "max_bytes",
                    SIZE,
                    "Of one attempt's log; beyond it the middle is cut out, and the log says so.",
                    "64MiB",
                ),
                Field(
                    "keep",
                    whole(1),
                    "How many logs are kept of each job: those of its newest attempts.",
                    50,
                ),
            ),
            makes=LogLimits,
        ),
        Table(
            "retention",
            "When finished jobs are reduced to their last good and best checkpoints.",
            (
                Field("max_age", SECONDS, "Time after the end of a job.", example="30 days"),
                Field("max_bytes", SIZE, "Size of the whole home.", example="500GB"),
            ),
            makes=Retention,
        ),
        Table(
            "preemption",
            "Where a notice appears that the host will be taken away.",
            (
                Field("notice_file", _PATH, "A file that appears then.", example="/run/preempted"),
                Field("aws", _endpoint(AWS), "Ask AWS: true, or a base URL.", False),
                Field("gce", _endpoint(GCE), "Ask GCE: true, or a base URL.", False),
                Field("poll", SECONDS, "Time between two looks.", "5s"),
            ),
            makes=Preemption,
        ),
        Table(
            "per_user",
            "What one user may have at once.",
            (
                Field(
                    "max_waiting",
                    whole(1),
                    "Jobs that are queued or waiting; further specs are refused.",
                    example=200,
                ),
                Field("max_running", whole(1), "Jobs that run; further ones wait.", example=2),
                Field("max_gpus", whole(1), "GPUs of a user's running jobs together.", example=4),
            ),
            makes=PerUser,
        ),
        Table(
            "notify",
            "Who is notified, of what, and how often.",
            (
                Field(
                    "urls",
                    Kind(
                        _read_urls, {"type": "array", "items": {"type": "string", "pattern": "://"}}
                    ),
                    "URLs of apprise: mail, Slack, Telegram, ntfy, Matrix, webhooks and many more; "
                    "they need the extra `notify`.",
                    example=["ntfys://example.org/nights"],
                ),
                Field(
                    "urls_file",
                    _PATH,
                    "A file with such URLs, one a line, `#` for comments. They may hold passwords: "
                    "chmod 600, owned by the daemon's user.",
                    example="/etc/rekindle/notify.urls",
                ),
                Field(
                    "command",
                    Kind(_read_command, {"type": "array", "items": {"type": "string"}}),
                    "Program with an absolute path, and arguments, that gets each message as JSON "
                    "on standard input and has 60 s.",
                    example=["/usr/local/bin/tell"],
                ),
                Field(
                    "on",
                    Kind(_read_notices, {"type": "array", "items": {"enum": list(NOTICES)}}),
                    "Kinds of notices.",
                    list(NOTICES),
                ),
                Field("interrupted", whole(1), "Interruptions of a job without a notice.", 3),
                Field("batch", SECONDS, "Notices of so long are one message.", "1min"),
                Field("max_per_hour", whole(1), "Messages; what is beyond waits.", 12),
                Field("disk_free", PERCENT, "A disk with less free space has a notice.", "10%"),
                Field(
                    "ping",
                    Kind(_read_ping, {"type": "string", "pattern": _PING}),
                    "A dead-man URL, called each day while the daemon works: the service behind it "
                    "reports when the call does not come, as from a host without power.",
                    example="https://example.org/ping",
                ),
                Field(
                    "ping_at",
                    Kind(_read_time_of_day, {"type": "string", "pattern": _TIME}),
                    "When it is called, local time.",
                    "07:00",
                ),
            ),
            makes=Notify,
        ),
    ),
)
