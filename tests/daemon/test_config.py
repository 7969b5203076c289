"""`rekindle.toml`: every key has a default, and a mistake is reported with its line."""

from pathlib import Path

import pytest
from rig import Rig

from rekindle.daemon import config
from rekindle.state.errors import ConfigError
from rekindle.state.paths import Home

WHOLE = b"""format = 1
slots = 2
[source]
max_bytes = "1MiB"
max_files = 7
max_file_bytes = "10kB"
[logs]
max_bytes = "2MiB"
keep = 3
[retention]
max_age = "30 days"
max_bytes = "5GB"
[preemption]
notice_file = "/run/preempted"
aws = true
gce = "http://127.0.0.1:8080/"
poll = "1s"
[notify]
urls = ["json://example.org"]
command = ["/bin/cat"]
on = ["held"]
batch = "5s"
disk_free = "5%"
ping_at = "6:30"
"""


def test_every_key_is_read_and_all_have_defaults(tmp_path: Path) -> None:
    """A home without the file is as good as one with an empty one."""
    assert config.read(Home(tmp_path)) == config.Config() == config.parse(b"", "x")
    read = config.parse(WHOLE, "x")
    assert (
        config.Config(
            slots=2,
            source=config.SourceLimits(2**20, 7, 10_000),
            logs=config.LogLimits(2 * 2**20, 3),
            retention=config.Retention(30 * 86400.0, 5 * 10**9),
            preemption=config.Preemption(
                "/run/preempted", config.AWS, "http://127.0.0.1:8080", 1.0
            ),
            notify=config.Notify(
                urls=("json://example.org",),
                command=("/bin/cat",),
                on=("held",),
                batch=5.0,
                disk_free=0.05,
                ping_at=390,
            ),
        )
        == read
    )


@pytest.mark.parametrize(
    ("text", "line", "says", "hint"),
    [
        (b"slots = 1\nslotz = 2\n", 2, "no key `slotz`", "`slots`"),
        (b"\n[logs]\nmax_byte = '1MB'\n", 3, "no key `max_byte` in [logs]", "`max_bytes`"),
        (b"[retention]\nmax_bytes = 5\n", 2, "retention.max_bytes", "docs/configuration.md"),
        (b"slots = 0\n", 1, "1 or more", "docs/configuration.md"),
        (b"slots = true\n", 1, "1 or more", "docs/configuration.md"),
        (b"logs = 3\n", 1, "must be a table", "[logs]"),
        (b"format = 2\n", 1, "format 2", "format = 1"),
        (b"[preemption]\nnotice_file = 'here'\n", 2, "absolute", "docs/"),
        (b"[preemption]\naws = 'ftp://x'\n", 2, "base URL", "docs/"),
        (b"slots = \n", 1, "not valid TOML", "docs/"),
        (b"\xff\xfe", 1, "not UTF-8", "UTF-8"),
        (b"a." * 1000 + b"a = 1\n", 1, "nested too deeply", "docs/"),
        (b"slotz = 1\nlogs = 3\n", 1, "no key `slotz`", "also: `logs` must be a table"),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_a_hint(
    text: bytes, line: int, says: str, hint: str
) -> None:
    """The same kind of error as for a spec."""
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "rekindle.toml")
    assert says in caught.value.what
    assert hint in caught.value.hint
    assert caught.value.where == f"rekindle.toml:{line}"


def test_the_daemon_does_not_start_with_a_bad_configuration(tmp_path: Path) -> None:
    """Exit code 2, which the unit does not restart, and one message with the place."""
    rig = Rig(tmp_path / "home")
    rig.home.config.write_text("[retention]\nmax_age = 'soon'\n")
    assert rig.start().wait(60) == 2
    said = rig.log.read_text()
    assert f"{rig.home.config}:2" in said
    assert "hint" in said
    assert not rig.home.ledger.exists()


@pytest.mark.parametrize(
    "text",
    [
        b'urls = "mailto://u:p4ssw0rd@example.org"',
        b'urls = ["u:p4ssw0rd@example.org"]',
        b'command = ["tell", "p4ssw0rd"]',
        b'on = ["helt"]',
        b'ping = "ftp://p4ssw0rd"',
        b'ping_at = "25:00"',
        b'ping_at = "p4ssw0rd"',
    ],
)
def test_a_wrong_notification_is_refused_without_its_secret(text: bytes) -> None:
    with pytest.raises(ConfigError) as refused:
        config.parse(b"[notify]\n" + text + b"\n", "rekindle.toml")
    assert "p4ssw0rd" not in str(refused.value)
    assert refused.value.where == "rekindle.toml:2"
