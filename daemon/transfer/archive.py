"""Pack a job into one file, to move it to another host: a tar with a list of digests first.

The list is the archive's first member, so that a reader can check each file that follows.
Only regular files are packed and unpacked: no links, no devices, no name that leads out of the
target folder.
"""

import errno
import hashlib
import io
import json
import os
import re
import shutil
import stat
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from rekindle.daemon.source.store import folder_name, link_target, narrow
from rekindle.jobs.job import Job
from rekindle.state import durable, lock
from rekindle.state.errors import RekindleError, SpecError, UsageError
from rekindle.state.paths import Home, Run
from rekindle.state.source_tree import FILES, TREE, damage

FORMAT: Final = 1
LIST: Final = "rekindle-run.json"
_MAX_LIST: Final = 64 * 2**20
_CHUNK: Final = 1 << 20
_OF_NAME: Final = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})
"""Errors of a name that no file of a run has, e.g. one below another file."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class ArchiveRefused(RekindleError):
    """Refuse a file that is not an archive of a run, is damaged, or has unexpected members."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Packed:
    """The size of an archive; ``left_out`` names what is not a regular file."""

    files: int
    bytes: int
    left_out: list[str]


def pack(run: Run, target: Path, *, state: str, version: str) -> Packed:
    """Write a job's run directory and its snapshot to ``target``, completely or not at all.

    Args:
        state: the job's state in the ledger, noted in the archive.

    Raises:
        LockHeld: an attempt of the job is alive.
        UsageError: ``target`` exists, or cannot be written.
        OSError: a file of the run cannot be read.
    """
    if os.path.lexists(target):
        raise _taken(target)
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    with lock.held(
        run.lock,
        f"An attempt of {run.id} is alive.",
        f"Save and stop it first: `rekindle stop {run.id}`.",
    ):
        left_out: list[str] = []
        paths = dict(_files(run, left_out))
        listed = {
            name: {"bytes": path.stat().st_size, "sha256": _digest(path)}
            for name, path in paths.items()
        }
        about = {
            "format": FORMAT,
            "job": run.id,
            "version": version,
            "state": state,
            "created": time.time(),
            "files": listed,
        }
        try:
            # the job's `env` may hold secrets: only the owner may read the archive
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unwritable(target, error) from error
        try:
            with (
                os.fdopen(fd, "wb") as file,
                tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                data = json.dumps(about, indent=1).encode()
                _add(tar, LIST, len(data), io.BytesIO(data))
                for name, path in paths.items():
                    with path.open("rb") as content:
                        _add(tar, name, int(str(listed[name]["bytes"])), content)
                tar.close()
                file.flush()
                os.fsync(file.fileno())
            durable.name_new(temporary, target)
        except FileExistsError as error:
            raise _taken(target) from error
        except OSError as error:
            if error.filename is not None:
                raise  # the error is of a file of the run, not of the archive
            raise _unwritable(target, error) from error
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.absolute().parent)
    return Packed(len(paths), sum(int(str(entry["bytes"])) for entry in listed.values()), left_out)


def unpack(
    source: Path, home: Home, *, workdir: str | None = None, python: str | None = None
) -> str:
    """Unpack an archived job into ``imports/`` of the home, verified, or not at all.

    Args:
        workdir, python: replace those that the job had on its old host.

    Returns:
        A token, under which the daemon finds the run and makes it a job (`daemon.transfer`).

    Raises:
        ArchiveRefused: the file is damaged, or not an archive.
        UsageError: it cannot be read, or the job cannot run here; the hint names the option.
        OSError: the home cannot be written.
    """
    staging = home.imports / f".tmp-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(mode=0o700)
        try:
            with source.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                listed = _read_list(tar, source)
                _check_room(listed, home, source, os.fstat(file.fileno()))
                _extract(tar, listed, staging, source)
        except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
            # tarfile raises any of them for headers that no program writes
            raise _refused(source, f"The archive cannot be read ({error})") from error
        except FileNotFoundError as error:
            raise UsageError(
                "The archive does not exist.",
                where=source,
                hint="Name the file that `rekindle export-run` wrote.",
            ) from error
        return _settle(staging, home, source, workdir, python)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    try:
        durable.fsync_folder(folder)
    except OSError as error:
        # some network disks refuse fsync on a folder; the archive itself is synced
        if error.errno not in (errno.EINVAL, errno.EBADF):
            raise


def _taken(target: Path) -> UsageError:
    return UsageError(
        "The file exists already.",
        where=target,
        hint="Name another file: an existing one is never replaced.",
    )


def _unwritable(target: Path, error: OSError) -> UsageError:
    return UsageError(
        f"Cannot write the archive: {error.strerror or error}.",
        where=target,
        hint="Name a file in a folder where you have write permission and enough space.",
    )


def _files(run: Run, left_out: list[str]) -> Iterator[tuple[str, Path]]:
    """Yield archive name and path of each file of a run and of its snapshot."""
    for folder, folders, names in os.walk(run.root):
        folders[:] = sorted(name for name in folders if not name.startswith(".tmp-"))
        for name in sorted(names + [f for f in folders if Path(folder, f).is_symlink()]):
            path = Path(folder, name)
            inside = path.relative_to(run.root).as_posix()
            if inside in ("lock", "source") or name.startswith("."):
                continue
            if path.is_symlink() or not path.is_file():
                left_out.append(inside)
                continue
            yield f"run/{inside}", path
    if run.source.exists():
        tree = Path(os.path.realpath(run.source))
        yield f"source/{FILES}", tree.with_name(FILES)
        for path in sorted(tree.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield f"source/{TREE}/{path.relative_to(tree).as_posix()}", path


def _add(tar: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(time.time())
    tar.addfile(info, content)


def _read_list(tar: tarfile.TarFile, source: Path) -> dict[str, dict[str, Any]]:
    first = tar.next()
    if first is None or first.name != LIST or not _is_plain(first) or first.size > _MAX_LIST:
        raise _refused(source, "The archive does not begin with its list of files")
    content = tar.extractfile(first)
    assert content is not None
    try:
        about = json.loads(content.read())
        version, files = about["format"], about["files"]
        if type(version) is not int or version < 1:
            raise ValueError("its format is no number")
        if version > FORMAT:
            raise ArchiveRefused(
                f"The archive has a newer format ({version}, known: {FORMAT}).",
                where=source,
                hint=f"Install rekindle {about.get('version')} or newer on this host.",
            )
        for name, entry in files.items():
            if not (
                type(entry["bytes"]) is int  # True is another one
                and entry["bytes"] >= 0
                and _DIGEST.fullmatch(entry["sha256"])
                and _is_safe(name)
            ):
                raise ValueError(name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _refused(source, f"The archive's list of files is invalid ({error})") from error
    return dict(files)


def _is_safe(name: str) -> bool:
    parts = name.split("/")
    return (
        name.startswith(("run/", "source/"))
        and "\0" not in name
        and len(name) < 4096
        and all(part not in ("", ".", "..") for part in parts)
        and parts[1] not in ("lock", "source")
    )


def _check_room(
    listed: dict[str, dict[str, Any]], home: Home, source: Path, info: os.stat_result
) -> None:
    wanted = sum(entry["bytes"] for entry in listed.values())
    if stat.S_ISREG(info.st_mode) and wanted > info.st_size:
        raise _refused(
            source, f"The archive has {info.st_size} bytes, its list names files of {wanted}"
        )
    space = os.statvfs(home.root)
    if wanted > space.f_bavail * space.f_frsize:
        raise UsageError(
            f"The run needs {wanted} bytes; the home's disk has "
            f"{space.f_bavail * space.f_frsize} free.",
            where=source,
            hint="Free disk space: `rekindle prune` shows what can be removed.",
        )


def _extract(
    tar: tarfile.TarFile, listed: dict[str, dict[str, Any]], folder: Path, source: Path
) -> None:
    missing = set(listed)
    while (member := tar.next()) is not None:
        name = member.name
        if name not in missing:
            raise _refused(
                source, f"The archive has a member {name!r} that is not in its list, or twice"
            )
        missing.discard(name)
        if not _is_plain(member):
            raise _refused(source, f"{name} is not a regular file")
        if member.size != listed[name]["bytes"]:
            raise _refused(source, f"{name} has {member.size} bytes, not {listed[name]['bytes']}")
        content = tar.extractfile(member)
        assert content is not None
        target = folder / PurePosixPath(name)
        digest = hashlib.sha256()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(
                target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            if error.errno not in _OF_NAME:
                raise
            raise _refused(source, f"{name[:100]} cannot be a file ({error.strerror})") from error
        with os.fdopen(fd, "wb") as file:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != listed[name]["sha256"]:
            raise _refused(source, f"{name} has another digest than in the list")
    if missing:
        raise _refused(source, f"{min(missing)} is missing, and {len(missing) - 1} other files")


def _is_plain(member: tarfile.TarInfo) -> bool:
    """Return whether a member is a file with all its bytes in the archive: no link, not sparse."""
    return member.isreg() and not member.issparse() and member.size >= 0


def _settle(
    staging: Path, home: Home, source: Path, workdir: str | None, python: str | None
) -> str:
    """Check that the job can run here, and move the unpacked run into ``imports/``."""
    run = Run(staging / "run")
    try:
        job = Job.read(run.job_file)
    except (OSError, UnicodeDecodeError, SpecError) as error:
        raise _refused(source, f"The archive has no valid job ({error})") from error
    job = _at_home(job, workdir, python)
    if job.source is not None:
        _check_source(staging / "source", job.source.digest, source)
        stored = home.sources / folder_name(job.source.digest)
        if not stored.exists():
            os.rename(staging / "source", stored)
            durable.fsync_folder(home.sources)
        os.symlink(link_target(home.sources, job.source.digest), run.source)
    token = f"{time.time_ns():x}-import"
    job = job.replace(claim=token)
    durable.write_bytes(run.job_file, job.to_json().encode(), 0o600)
    for folder in ("logs", "checkpoints"):
        (run.root / folder).mkdir(exist_ok=True)
    os.chmod(run.root, 0o750)  # noqa: S103  as every run directory
    for path, _, _ in os.walk(run.root):
        durable.fsync_folder(Path(path))
    os.rename(run.root, home.imports / token)
    durable.fsync_folder(home.imports)
    return token


def _at_home(job: Job, workdir: str | None, python: str | None) -> Job:
    """Return the job with its folders on this host."""
    if workdir is not None:
        new = os.path.abspath(workdir)
        changes: dict[str, Any] = {"workdir": new}
        if job.source is not None:
            root = _moved(job.source.root, job.workdir, new)
            script = os.path.join(root, job.source.script) if job.source.script else None
            changes.update(source=_replace(job.source, root), script=script or job.script)
        elif job.script is not None:
            changes["script"] = _moved(job.script, job.workdir, new)
        job = job.replace(**changes)
    if python is not None:
        job = job.replace(python=os.path.abspath(python))
    if not os.path.isdir(job.workdir):
        raise UsageError(
            f"The job's workdir {job.workdir} does not exist on this host.",
            hint="Create it, with the data that the script reads, or name another folder with "
            "--workdir.",
        )
    if job.python is not None and not os.access(job.python, os.X_OK):
        raise UsageError(
            f"The job's interpreter {job.python} does not exist on this host.",
            hint="Name an interpreter that has the job's packages with --python.",
        )
    if job.source is None and job.script is not None and not os.path.isfile(job.script):
        raise UsageError(
            f"The job runs {job.script} live, and it does not exist on this host.",
            hint="Copy the script to this path first, or name its folder with --workdir.",
        )
    return job


def _replace(source: Any, root: str) -> Any:
    import dataclasses

    return dataclasses.replace(source, root=root)


def _moved(path: str, old: str, new: str) -> str:
    """Map ``path`` from the folder ``old`` to ``new``; a path outside of both is unchanged."""
    inside = os.path.relpath(path, old)
    if not inside.startswith(".."):
        return os.path.normpath(os.path.join(new, inside))
    below = os.path.relpath(old, path)
    if not below.startswith("..") and new.endswith(os.sep + below):
        return new[: -len(os.sep + below)]
    return path


def _check_source(folder: Path, digest: str, source: Path) -> None:
    """Refuse a snapshot that is not the one of the accepted job."""
    tree = folder / TREE
    try:
        files = json.loads((folder / FILES).read_bytes())["files"]
        found = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
        if found != set(files):
            raise ValueError("its list does not match its files")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _refused(source, f"The archive's code snapshot is damaged ({error})") from error
    reason = damage(tree, digest)
    if reason is not None:
        raise _refused(source, f"The archive's code snapshot is damaged ({reason})")
    narrow(tree, files)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refused(source: Path, what: str) -> ArchiveRefused:
    return ArchiveRefused(
        f"{what}; nothing was imported.",
        where=source,
        hint="Copy the archive again and compare with `sha256sum`, or repeat `rekindle export-run` "
        "on the old host.",
    )
