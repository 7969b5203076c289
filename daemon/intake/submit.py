"""Check a person's spec file, and write a spec into the inbox."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from rekindle.daemon.intake import settling
from rekindle.daemon.spec import parse, yaml_text
from rekindle.state import durable
from rekindle.state.errors import HomeUnusable, NotFound, SpecError
from rekindle.state.paths import Home


def spec_from_file(path: Path) -> tuple[str, bytes]:
    """Check a person's spec, and add the folder to which its paths are relative.

    Raises:
        NotFound: the file cannot be read.
        SpecError: the spec would be refused.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFound(
            f"The spec cannot be read: {error.strerror}.",
            where=path,
            hint="Name a spec file (*.toml, *.yaml), a script (*.py) or a notebook (*.ipynb).",
        ) from error
    folder = path.absolute().parent
    if not path.name.endswith(parse.SUFFIXES):
        raise SpecError(
            "The file's extension is not that of a spec.",
            where=path,
            hint=f"Name it *{', *'.join(parse.SUFFIXES)}, or submit a script (*.py, *.ipynb).",
        )
    job = parse.parse(data, path.name, folder)
    if path.name.endswith(".toml"):
        import tomllib

        table = tomllib.loads(data.decode("utf-8-sig"))
        head = "" if "workdir" in table else f"workdir = {json.dumps(str(folder))}\n"
        if head:
            data = head.encode() + data.removeprefix(b"\xef\xbb\xbf")
    else:
        table = yaml_text.load(data.decode("utf-8-sig"))[0]
        table.setdefault("workdir", str(folder))
        data = yaml_text.dump(table).encode()
    parse.parse(data, path.name, folder)
    return f"{job.name}{path.suffix}", data


@dataclass(frozen=True, slots=True)
class Dropped:
    """Describe a spec that was written into the inbox.

    Attributes:
        path: where it was written; the daemon may have claimed it already.
        inode: its inode number, which stays the same wherever the daemon moves it.
    """

    path: Path
    inode: int


def drop(home: Home, filename: str, data: bytes) -> Dropped:
    """Write a spec into the inbox atomically; never replace another file.

    Raises:
        HomeUnusable: the inbox cannot be written.
    """
    stem, suffix = os.path.splitext(filename)
    temporary = home.inbox / f".{filename}.{os.getpid()}.tmp"
    try:
        durable.write_bytes(temporary, data, 0o640, shared=True)
        settling.mark(temporary, data)
        inode = temporary.stat().st_ino
        n = 1
        while True:
            target = home.inbox / (filename if n == 1 else f"{stem}-{n}{suffix}")
            try:
                # reserves the name, since a rename replaces an existing file; the daemon does not
                # claim the empty file for the moment, since it was not renamed in
                os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
                break
            except FileExistsError:
                n += 1
        os.replace(temporary, target)
        durable.fsync_folder(home.inbox)
    except OSError as error:
        raise HomeUnusable(
            f"The spec cannot be written into the inbox: {error.strerror}.",
            where=home.inbox,
            hint="Is this the right home (--home), and are you in the group of its inbox?",
        ) from error
    return Dropped(target, inode)
