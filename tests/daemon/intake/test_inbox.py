"""A dropped file becomes exactly one job or a refusal with a reason; nothing crashes the daemon."""

import errno
import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rekindle.daemon.intake import arrivals, requests, submit
from rekindle.daemon.intake.inbox import Inbox, Scan
from rekindle.daemon.intake.refuse import Refuse
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.daemon.spec import parse
from rekindle.jobs.job import Job
from rekindle.state import durable
from rekindle.state.errors import SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

GOOD = b'command = ["true"]\nworkdir = "/"\n'
LATER = 30.0
"""Seconds after which a file that nobody writes to is complete."""


class Killed(BaseException):
    """Stands for SIGKILL at a commit point: nothing after it happens."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def scan(home: Home, budget: float = 1e9) -> Scan:
    """Look twice with a new daemon, as after a restart: it has seen no file arrive."""
    ledger = Ledger.open(home.ledger)
    try:
        inbox = Inbox(home, ledger)
        inbox.recover()
        return settled(inbox, budget)
    finally:
        inbox.close()
        ledger.close()


def settled(inbox: Inbox, budget: float = 1e9) -> Scan:
    """Scan now, and again when every file is complete; return what both found."""
    first = inbox.scan(0.0, budget)
    second = inbox.scan(LATER, budget)
    return replace(
        second, accepted=first.accepted + second.accepted, rejected=first.rejected + second.rejected
    )


def jobs(home: Home) -> list[str]:
    ledger = Ledger.open(home.ledger)
    try:
        return [job.id for job in ledger.jobs()]
    finally:
        ledger.close()


def reason(home: Home, name: str) -> str:
    return (home.rejected / f"{name}.error.txt").read_text()


def test_a_good_spec_becomes_one_job_with_its_spec_kept(home: Home) -> None:
    """Byte for byte beside the resolved form, unreadable for others from the start."""
    (home.inbox / "a.toml").write_bytes(GOOD)
    assert scan(home).accepted == ["a-1"]
    run = home.run("a-1")
    assert run.spec_copy(".toml").read_bytes() == GOOD
    assert Job.from_json(run.job_file.read_text()).id == "a-1"
    assert [run.job_file.stat().st_mode & 0o777, run.spec_copy(".toml").stat().st_mode & 0o777] == [
        0o600,
        0o600,
    ]
    assert run.root.stat().st_mode & 0o027 == 0
    assert scan(home).accepted == []
    assert list(home.claimed.iterdir()) == []


def link_of(path: Path) -> None:
    (path.parent.parent / "elsewhere.toml").write_bytes(GOOD)
    os.link(path.parent.parent / "elsewhere.toml", path)


def socket_at(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket has at most 107 bytes
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        ("broken.toml", lambda p: p.write_bytes(b"name = "), "not valid TOML"),
        ("broken.yaml", lambda p: p.write_bytes(b"a: [1"), "not valid YAML"),
        ("unknown.toml", lambda p: p.write_bytes(GOOD + b"sede = 1\n"), "Did you mean `seed`?"),
        ("type.toml", lambda p: p.write_bytes(GOOD + b"seed = 'x'\n"), "whole number"),
        ("script.toml", lambda p: p.write_bytes(b"script = '/no/train.py'"), "not found"),
        ("up.toml", lambda p: p.write_bytes(GOOD + b"name = '../../up'\n"), "`name` cannot be"),
        ("big.toml", lambda p: p.write_bytes(b"#" * 2 * 2**20), "at most 1 MiB"),
        ("latin.toml", lambda p: p.write_bytes(GOOD + b"# \xe4\n"), "UTF-8"),
        ("notes.txt", lambda p: p.write_bytes(b"hello"), "extension"),
        ("link.toml", lambda p: p.symlink_to("/etc/passwd"), "symbolic link"),
        ("loop.toml", lambda p: p.symlink_to(p), "symbolic link"),
        ("hard.toml", link_of, "hard link"),
        ("fifo.toml", os.mkfifo, "not a regular file"),
        ("socket.toml", socket_at, "not a regular file"),
        ("folder.toml", lambda p: (p.mkdir(), (p / "x").write_bytes(GOOD)), "not a regular file"),
        ("empty.toml", lambda p: p.touch(), "what to run"),
    ],
)
def test_what_cannot_be_a_spec_is_moved_aside_with_its_reason(
    home: Home, name: str, make: "object", expected: str
) -> None:
    """None is lost without a word, and the good one beside it is accepted."""
    assert callable(make)
    make(home.inbox / name)
    (home.inbox / "zzz.toml").write_bytes(GOOD)
    found = scan(home)
    assert (found.accepted, found.rejected) == (["zzz-1"], [name])
    assert expected in reason(home, name)
    assert "hint: " in reason(home, name)
    assert os.path.lexists(home.rejected / name)
    assert not os.path.lexists(home.inbox / name)


LEFT_ALONE = {
    ".x.toml.swp": "vim",
    ".x.toml.swx": "vim",
    "4913": "vim",
    "x.toml~": "an editor",
    "x.toml.bak": "an editor",
    "#x.toml#": "Emacs",
    ".#x.toml": "Emacs",
    "x.toml.filepart": "WinSCP",
    ".x.toml.Ab12Cd": "rsync",
    ".~tmp~": "rsync",
    "sedAb12Cd": "sed -i",
    "x.toml___jb_tmp___": "JetBrains",
    "x.toml___jb_old___": "JetBrains",
    ".goutputstream-ABC123": "gedit, GNOME",
    ".x.toml.kate-swp": "Kate",
    ".~lock.x.toml#": "LibreOffice",
    "~$x.toml": "Microsoft Office",
    "x.toml.part": "a browser",
    "x.toml.crdownload": "a browser",
    "x.toml.download": "a browser",
    "x.toml.tmp": "a program",
    "x.toml.partial": "a download",
    "x.toml.inprogress": "a download",
    ".nfs000000000012ab34": "NFS",
    ".syncthing.x.toml.tmp": "Syncthing",
    "~syncthing~x.toml": "Syncthing",
    ".in.x.toml.": "a server of FTP",
    ".unison.x.toml.1234.unison.tmp": "Unison",
    ".DS_Store": "macOS",
    "._x.toml": "macOS",
    "Thumbs.db": "Windows",
    "desktop.ini": "Windows",
    ".hidden.toml": "a program",
    ".x\ny": "a program",
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_temporary_files_of_programs_are_left_alone(home: Home, name: str) -> None:
    """Neither accepted nor refused, and named with their program once they stay for minutes."""
    (home.inbox / name).write_bytes(GOOD)
    found = scan(home)
    assert (found.accepted, found.rejected) == ([], [])
    assert (home.inbox / name).read_bytes() == GOOD
    assert arrivals.waiting(home) == []
    now = time.time()
    assert arrivals.left_alone(home, now + 60) == []
    (left,) = arrivals.left_alone(home, now + 600)
    assert (left.name, left.reason) == (name, f"a temporary file of {LEFT_ALONE[name]}")


@pytest.mark.parametrize(
    "name",
    ["x.toml", "sed.toml", "seedAb12.toml", "4912", "party.toml", "temp.yaml", "download.toml"],
)
def test_a_name_that_only_resembles_a_temporary_one_is_a_spec(home: Home, name: str) -> None:
    """Accepted, or refused with its reason."""
    (home.inbox / name).write_bytes(GOOD)
    found = scan(home)
    assert len(found.accepted) + len(found.rejected) == 1


def test_two_files_of_one_name_become_two_jobs(home: Home) -> None:
    """One after the other, and at once under two endings; neither replaces the other."""
    (home.inbox / "a.toml").write_bytes(GOOD)
    assert scan(home).accepted == ["a-1"]
    (home.inbox / "a.toml").write_bytes(GOOD)
    (home.inbox / "a.yaml").write_bytes(b"command: ['true']\nworkdir: /\n")
    assert scan(home).accepted == ["a-2", "a-3"]


def test_two_refused_files_of_one_name_are_both_kept(home: Home) -> None:
    """The second overwrites neither the first nor its reason."""
    for text in (b"first = ", b"second = "):
        (home.inbox / "a.toml").write_bytes(text)
        scan(home)
    assert (home.rejected / "a.toml").read_bytes() == b"first = "
    assert (home.rejected / "a-2.toml").read_bytes() == b"second = "
    assert reason(home, "a.toml")
    assert reason(home, "a-2.toml")


def test_submitting_never_replaces_what_lies_there(home: Home) -> None:
    """Two people may hand in the same name in the same moment."""
    first = submit.drop(home, "a.toml", GOOD).path
    second = submit.drop(home, "a.toml", GOOD + b"seed = 2\n").path
    assert first != second
    assert first.read_bytes() == GOOD
    assert scan(home).accepted == ["a-2-1", "a-1"]


POINTS = (
    "before_claim",
    "claimed",
    "before_accept",
    "grids_decided",
    "run_named",
    "accepted",
    "known",
    "finished",
)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("count", [1, 3])
def test_a_kill_at_any_commit_point_makes_each_spec_one_job(
    home: Home, point: str, count: int
) -> None:
    """Neither lost nor accepted twice, also where several are accepted together."""
    for n in range(count):
        (home.inbox / f"job{n}.toml").write_bytes(GOOD)

    def die(name: str) -> None:
        if name == point:
            raise Killed

    ledger = Ledger.open(home.ledger)
    with pytest.raises(Killed):
        settled(Inbox(home, ledger, crash_point=die))
    ledger.close()

    scan(home)
    scan(home)

    assert sorted(jobs(home)) == [f"job{n}-1" for n in range(count)]
    assert sorted(run.name for run in home.runs.iterdir()) == sorted(jobs(home))
    assert list(home.claimed.iterdir()) == []


@pytest.mark.parametrize("point", ["claimed", "explained"])
def test_a_kill_while_refusing_loses_neither_file_nor_reason(home: Home, point: str) -> None:
    """The file is in `rejected/` with a reason in the end."""
    (home.inbox / "a.toml").write_bytes(b"x = ")

    def die(name: str) -> None:
        if name == point:
            raise Killed

    ledger = Ledger.open(home.ledger)
    with pytest.raises(Killed):
        settled(Inbox(home, ledger, crash_point=die))
    ledger.close()
    scan(home)
    assert [p.name for p in home.rejected.iterdir() if p.suffix == ".toml"]
    assert any("TOML" in p.read_text() for p in home.rejected.glob("*.error.txt"))
    assert jobs(home) == []


def test_a_full_disk_loses_no_spec_and_is_recovered_from(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that were claimed on a full disk are accepted when it has space again."""
    for n in range(3):
        (home.inbox / f"job{n}.toml").write_bytes(GOOD)
    ledger = Ledger.open(home.ledger)
    inbox = Inbox(home, ledger)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    request = requests.write(home, "stop", "job0-1")
    with monkeypatch.context() as patch:
        patch.setattr(durable, "fsync_all", full)
        assert settled(inbox).accepted == []
        assert inbox.pending()
        found = settled(inbox)
        assert (found.accepted, found.requests, found.more) == ([], [request], False)
    request.unlink()
    settled(inbox)
    assert [job.id for job in ledger.jobs()] == ["job0-1", "job1-1", "job2-1"]
    assert not inbox.pending()
    ledger.close()


def test_a_mistake_of_ours_costs_the_spec_that_met_it_alone(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a scan and in what a daemon finds at its start; the others are accepted."""
    real = Snapshots.needed

    def mistaken(self: Snapshots, job: Job) -> bool:
        if job.name.startswith("bad"):
            raise KeyError("a mistake")
        return real(self, job)

    monkeypatch.setattr(Snapshots, "needed", mistaken)
    (home.claimed / "1-1--bad1.toml").write_bytes(GOOD)
    for name in ("a", "bad2", "c"):
        (home.inbox / f"{name}.toml").write_bytes(GOOD)
    assert scan(home).accepted == ["a-1", "c-1"]
    assert list(home.claimed.iterdir()) == []
    for name in ("bad1", "bad2"):
        assert "KeyError: 'a mistake'" in reason(home, f"{name}.toml")


def test_a_name_that_is_no_text_stops_nothing(home: Home) -> None:
    """A sound spec under it is a job where it says its name; the reason of the others is kept."""
    for name, data in (
        (b"\xff.toml", b"x = "),
        (b"\xfe.txt", b""),
        (b"\xfd.toml", GOOD),
        (b"\xfc.toml", GOOD + b'name = "named"\n'),
        (b"a.toml", GOOD),
    ):
        (home.inbox / os.fsdecode(name)).write_bytes(data)
    found = scan(home)
    assert sorted(found.accepted) == ["a-1", "named-1"]
    assert sorted(os.fsencode(name)[0] for name in found.rejected) == [0xFD, 0xFE, 0xFF]
    assert "cannot be the job's name" in reason(home, os.fsdecode(b"\xfd.toml"))
    assert list(home.claimed.iterdir()) == []


@pytest.mark.parametrize("size", [215, 221, 232, 245, 255])
def test_a_name_of_any_length_is_accepted_or_refused(home: Home, size: int) -> None:
    """Up to the longest that a folder holds: shortened with a digest for the names made of it."""
    named = "n" * (size - 5) + ".toml"
    (home.inbox / named).write_bytes(GOOD + b'name = "named"\n')
    for letter in ("x", "y", "\xe9"):
        size_of_stem = (size - 5) // len(letter.encode())
        (home.inbox / f"{letter * size_of_stem}.toml").write_bytes(GOOD)
    (home.inbox / f"{'z' * (size - 13)}.request.json").mkdir()
    ledger = Ledger.open(home.ledger)
    inbox = Inbox(home, ledger)
    found = settled(inbox)
    for request in found.requests:
        inbox.reject(request, "It is not a request.", hint="Remove it.")
    assert not inbox.pending()
    inbox.close()
    ledger.close()
    assert found.accepted == ["named-1"]
    assert list(home.claimed.iterdir()) == []
    assert [path.name for path in home.inbox.iterdir()] == ["rejected"]
    reasons = {path.name for path in home.rejected.glob("*.error.txt")}
    files = {path.name for path in home.rejected.iterdir()} - reasons
    assert len(files) == 4
    assert reasons == {f"{name}.error.txt" for name in files}
    assert sum(name.endswith(".request.json") for name in files) == 1


def test_two_long_names_that_begin_alike_are_both_kept(home: Home) -> None:
    """The digest tells them apart, and a counter those with the same name."""
    for _ in range(2):
        for end in ("a", "b"):
            (home.inbox / f"{'x' * 249}{end}.toml").write_bytes(b"x = ")
        scan(home)
    assert len([*home.rejected.glob("*.toml")]) == 4
    assert len([*home.rejected.glob("*.error.txt")]) == 4


def test_a_refusal_that_cannot_be_written_stops_no_other_spec(home: Home) -> None:
    """`rejected` is a file: what is refused stays claimed, the sound spec is accepted."""
    home.rejected.rmdir()
    home.rejected.write_text("")
    (home.inbox / "a.toml").write_bytes(b"x = ")
    (home.inbox / "b.toml").write_bytes(GOOD)
    ledger = Ledger.open(home.ledger)
    inbox = Inbox(home, ledger)
    assert settled(inbox).accepted == ["b-1"]
    assert not inbox.pending()
    inbox.close()
    home.rejected.unlink()
    inbox = Inbox(home, ledger)
    inbox.recover()
    inbox.close()
    ledger.close()
    assert "TOML" in reason(home, "a.toml")


SECRET = "hunter2-hunter2"
SECRETS = {
    "toml": f'command = ["true"]\nseed = 1\n[env]\nTOKEN = "{SECRET}"\nOTHER = "x"\n',
    "yaml": f"command: ['true']\nseed: 1\nenv:\n  TOKEN: {SECRET}\n  OTHER: x\n",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_no_reason_shows_a_secret(kind: str) -> None:
    """Of a spec that is cut, or has any character in place of another or of nothing."""
    text = SECRETS[kind]
    start = text.index(SECRET)
    broken = [text[:n] for n in range(start + len(SECRET), len(text))]
    for mark in "\"'[]{}=:*&!%@`|>,\n\t\0#\\":
        for n in range(text.index("env") - 1, len(text)):
            if not start < n < start + len(SECRET):
                broken += [text[:n] + mark + text[n:], text[:n] + mark + text[n + 1 :]]
    refused = 0
    for one in broken:
        try:
            parse.parse(one.encode(), f"a.{kind}", Path("/"))
        except SpecError as error:
            refused += 1
            assert SECRET not in f"{error} {error.what} {error.hint} {error.where}", one
    assert refused > 100


def test_a_refused_spec_is_as_closed_as_it_was(home: Home) -> None:
    """It may hold secrets; the reason beside it is for the group of the inbox."""
    (home.inbox / "a.toml").write_text(SECRETS["toml"] + "oops\n")
    (home.inbox / "a.toml").chmod(0o600)
    scan(home)
    assert (home.rejected / "a.toml").stat().st_mode & 0o777 == 0o600
    assert SECRET not in reason(home, "a.toml")


def test_a_run_that_cannot_be_made_known_holds_no_spec_up(home: Home) -> None:
    """Its job.json is a folder; or sound, with an id that has no number."""
    ledger = Ledger.open(home.ledger)
    (home.runs / "odd-1" / "job.json").mkdir(parents=True)
    run = home.runs / "strange"
    run.mkdir()
    job = Job(name="strange", workdir="/", command=["true"], id="strange", claim="1-1")
    (run / "job.json").write_text(job.to_json())
    (home.inbox / "a.toml").write_bytes(GOOD)
    inbox = Inbox(home, ledger)
    inbox.recover()
    assert settled(inbox).accepted == ["a-1"]
    ledger.close()


def test_what_is_dropped_can_be_read_by_the_group_whatever_the_umask(home: Home) -> None:
    """Spec, request, and the reason of a refusal; nobody else may read them."""
    old = os.umask(0o077)
    try:
        paths = [submit.drop(home, "a.toml", GOOD).path, requests.write(home, "pause", None)]
        (home.inbox / "b.toml").write_bytes(b"x = ")
        modes = [path.stat().st_mode & 0o777 for path in paths]
        scan(home)
    finally:
        os.umask(old)
    modes.append((home.rejected / "b.toml.error.txt").stat().st_mode & 0o777)
    assert modes == [0o640] * 3


def test_an_inbox_that_is_gone_is_told_and_found_again(home: Home) -> None:
    """Deleted and created again: no exception, and the next scan takes its files."""
    ledger = Ledger.open(home.ledger)
    inbox = Inbox(home, ledger)
    home.rejected.rmdir()
    home.inbox.rmdir()
    assert inbox.scan(0.0).accepted == []
    home.inbox.mkdir()
    (home.inbox / "a.toml").write_bytes(GOOD)
    (home.inbox / "b.toml").write_bytes(b"x = ")
    found = settled(inbox)
    settled(inbox)
    ledger.close()
    assert found.accepted == ["a-1"]
    assert reason(home, "b.toml")


def test_many_specs_are_taken_in_slices_and_requests_come_between(home: Home) -> None:
    """A request behind a hundred specs is seen at the first look."""
    for n in range(100):
        (home.inbox / f"job{n:03d}.toml").write_bytes(GOOD)
    requests.write(home, "stop", "job000-1")
    found = scan(home, budget=0.0)
    assert found.more
    assert len(found.requests) == 1
    assert len(found.accepted) < 100
    for _ in range(200):
        found = scan(home, budget=0.01)
        if not found.more and found.settling is None:
            break
    assert len(jobs(home)) == 100


def test_a_file_that_is_swapped_for_a_link_after_the_look_is_not_followed(home: Home) -> None:
    """Between the check and the reading stands only a file descriptor."""
    path = home.inbox / "a.toml"
    path.write_bytes(GOOD)

    def swap(name: str) -> None:
        if name == "claimed":
            claimed = next(home.claimed.iterdir())
            claimed.unlink()
            claimed.symlink_to("/etc/passwd")

    ledger = Ledger.open(home.ledger)
    found = settled(Inbox(home, ledger, crash_point=swap))
    ledger.close()
    assert found.rejected == ["a.toml"]
    assert "symbolic link" in reason(home, "a.toml")
    assert jobs(home) == []


def test_the_inbox_is_made_for_a_group_whatever_the_umask(tmp_path: Path) -> None:
    """Group-writable with setgid, and what is private is private from the start."""
    old = os.umask(0o077)
    try:
        made = Home(tmp_path / "other")
        made.create()
    finally:
        os.umask(old)
    modes = [folder.stat().st_mode & 0o7777 for folder in (made.inbox, made.rejected, made.claimed)]
    assert modes == [0o2770, 0o2770, 0o700]


def test_a_spec_that_is_refused_twice_is_refused_in_two_events(tmp_path: Path) -> None:
    """The file system may give the second file the inode of the first: `submit` looks for an event
    that is newer than its file."""
    home = Home(tmp_path)
    home.create()
    ledger = Ledger.open(home.ledger)
    refuse = Refuse(home, ledger, lambda point: None)
    seen = []
    for number in range(2):
        claimed = home.claimed / f"{number}--a.toml"
        claimed.write_text("")
        refuse.file(claimed, "a.toml", SpecError("No.", where="a.toml", hint="Correct it."))
        (home.rejected / "a.toml").unlink()
        seen.append(ledger.events(kind="spec_rejected", newest=1)[0].id)
    ledger.close()
    assert seen[0] < seen[1]
