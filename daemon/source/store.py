"""Keep snapshots under the digest of their content, each once, for several threads at a time."""

import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.source.batch_sync import BatchSync
from rekindle.daemon.source.tree_reader import stored_mode
from rekindle.state import durable
from rekindle.state.source_tree import FILES, TREE, damage

FORMAT: Final = 1
REMOVAL: Final = threading.Lock()
"""Held while an unused snapshot is chosen and renamed, or while one is marked as used."""
_CHECKED: Final = 8

Files = Mapping[str, Mapping[str, int | str]]
_Seen = dict[str, tuple[int, int, int, int]]


class Store:
    """The folder of all snapshots of a home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._making: set[str] = set()
        self._checked: OrderedDict[str, _Seen] = OrderedDict()

    def sweep(self) -> None:
        """Remove the leftovers of an interrupted daemon, not what this one is writing."""
        with self._lock:
            for entry in self.folder.iterdir():
                if entry.name.startswith(".tmp-") and entry.name not in self._making:
                    shutil.rmtree(entry, ignore_errors=True)

    def path(self, digest: str) -> Path:
        """Return the folder of a snapshot."""
        return self.folder / folder_name(digest)

    def files(self, digest: str) -> dict[str, dict[str, Any]]:
        """Read the list of files of a snapshot.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        files = json.loads((self.path(digest) / FILES).read_bytes())
        if not isinstance(files, dict) or not isinstance(files.get("files"), dict):
            raise ValueError("its list of files is damaged")
        return dict(files["files"])

    def share(self, digest: str) -> bool:
        """Mark a snapshot as used now and return True; False if there is no intact one."""
        with self._lock:
            return self._share(digest)

    def is_intact(self, digest: str) -> bool:
        """Return whether a snapshot is whole: read once, then recognised by its metadata."""
        with self._lock:
            return self._is_intact(digest)

    def add(self, fill: Callable[[Path], Files]) -> tuple[str, Files]:
        """Add a tree that ``fill`` writes, durably; return its digest and its files.

        Raises:
            OSError: the store cannot be written.
        """
        temporary = self.folder / f".tmp-{os.getpid()}-{threading.get_ident():x}"
        with self._writing(temporary), BatchSync(self.folder) as batch:
            (temporary / TREE).mkdir(parents=True, mode=0o700)
            files = fill(temporary / TREE)
            digest = digest_of(files)
            if not self.share(digest):
                record = {"format": FORMAT, "files": files}
                data = (json.dumps(record, indent=1) + "\n").encode()
                shared = all(int(entry["mode"]) & 0o040 for entry in files.values())
                durable.write_new(temporary / FILES, data, 0o640 if shared else 0o600)
                open_folders(temporary, files)
                batch.sync(temporary, len(files))
                self._commit(temporary, digest)
        return digest, files

    def _commit(self, temporary: Path, digest: str) -> None:
        final = self.path(digest)
        with self._lock:
            if self._share(digest):
                return  # another thread was faster
            if final.exists():
                # the same code is at hand: replacing the damaged copy repairs it for all its jobs
                os.rename(final, final.with_name(f".tmp-damaged-{final.name}-{time.time_ns():x}"))
            os.rename(temporary, final)
            durable.fsync_folder(self.folder)
            self._remember(digest)

    @contextlib.contextmanager
    def _writing(self, temporary: Path) -> Iterator[None]:
        with self._lock:
            self._making.add(temporary.name)
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            yield
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            with self._lock:
                self._making.discard(temporary.name)

    def _share(self, digest: str) -> bool:
        if not self._is_intact(digest):
            return False
        with REMOVAL, contextlib.suppress(FileNotFoundError):
            # an old snapshot without a link would be removed before the run links to it
            os.utime(self.path(digest))
            return True
        return False

    def _is_intact(self, digest: str) -> bool:
        seen = self._checked.get(digest)
        if seen is not None and seen == self._metadata(seen):
            return True
        if damage(self.path(digest) / TREE, digest) is not None:
            self._checked.pop(digest, None)
            return False
        return self._remember(digest)

    def _remember(self, digest: str) -> bool:
        try:
            names = [f"{self.path(digest) / TREE}/{name}" for name in self.files(digest)]
        except (OSError, ValueError):
            return False
        self._checked[digest] = self._metadata([*names, str(self.path(digest) / FILES)])
        self._checked.move_to_end(digest)
        while len(self._checked) > _CHECKED:
            self._checked.popitem(last=False)
        return True

    @staticmethod
    def _metadata(paths: list[str] | _Seen) -> _Seen:
        found: _Seen = {}
        for path in paths:
            with contextlib.suppress(OSError):
                info = os.lstat(path)
                # without the change time, which a new hard link to the file would change
                found[path] = (info.st_ino, info.st_size, info.st_mtime_ns, info.st_mode)
        return found


def folder_name(digest: str) -> str:
    """Return the name of a snapshot's folder."""
    return digest[:32]


def link_target(store: Path, digest: str, up: int = 2) -> str:
    """Return what a link to a snapshot holds, relative: a home can be moved.

    Args:
        up: how many folders the home is above that of the link.
    """
    return os.path.join(*[os.pardir] * up, store.name, folder_name(digest), TREE)


def digest_of(files: Files) -> str:
    """Compute the digest of a snapshot over names, modes and contents."""
    record = {"format": FORMAT, "files": files}
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def open_folders(folder: Path, files: Files) -> None:
    """Open a snapshot's folders to the group of the store, down to the files that it may read."""
    shared = {f"./{name}".rpartition("/")[0] for name, e in files.items() if int(e["mode"]) & 0o040}
    opened = {part.as_posix() for name in shared for part in (Path(name), *Path(name).parents)}
    for path, _, _ in os.walk(folder / TREE):
        inside = Path(path).relative_to(folder / TREE).as_posix()
        os.chmod(path, 0o750 if inside in opened else 0o700)
    os.chmod(folder, 0o750 if opened else 0o700)


def narrow(tree: Path, files: Files) -> None:
    """Give the files and folders of an unpacked snapshot the modes that its list names."""
    for name, entry in files.items():
        os.chmod(tree / name, stored_mode(int(entry["mode"])))
    open_folders(tree.parent, files)
