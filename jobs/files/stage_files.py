"""Files of a stage: what was written while it ran, recorded and kept with its checkpoints.

A later ``fit`` may overwrite them, and repeated steps may read them: a relaunch puts back those
that are another by then, so that ``load_weights(best)`` after a ``fit`` reads the file of this
``fit``.
"""

import os
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, ComponentBase
from rekindle.jobs.files import held_files
from rekindle.jobs.files.held_files import HeldFiles, Identity, identity
from rekindle.jobs.files.moved import EARLIER, FREEZE, Move, OutputPaths, dated_like, short
from rekindle.jobs.files.open_files import OPEN_FILES
from rekindle.jobs.files.put_back import PutBack
from rekindle.jobs.files.written import WRITTEN
from rekindle.jobs.job import Fork
from rekindle.jobs.journal_writer import log_line
from rekindle.jobs.saving.kept_files import Record
from rekindle.state.counted import few
from rekindle.state.run.training_state import TrainingState

_FOLDERS: Final = 100
_NAMED: Final = 3
_MOST: Final = 2_000
"""Files of a stage that are recorded: a callback may write an image for each step."""


class StageFiles(ComponentBase):
    """Record, keep and put back the files of one stage; a component of it.

    Args:
        targets: paths that the stage writes in other ways than through Python's ``open``.
        paths: those that the script has given to its callbacks.
    """

    def __init__(
        self,
        session: Session,
        stage: int,
        targets: Callable[[], Iterable[str]] = tuple,
        paths: OutputPaths | None = None,
    ) -> None:
        self._session = session
        self._stage = stage
        self._targets = targets
        self._outputs = paths or OutputPaths([])
        self._folders: dict[str, None] = {}
        self._base = session.job.workdir
        self._paths: dict[str, None] = {}
        self._records: dict[str, tuple[tuple[int, ...], Record]] = {}
        self._said = False
        self._held = HeldFiles()
        self._then: dict[str, tuple[Record, Identity | None]] = {}
        self._positions: dict[str, int] = {}
        WRITTEN.begin(lambda: session.stages.inside)

    @property
    def paths(self) -> list[str]:
        """Absolute paths of the files of this stage."""
        return list(self._paths)

    def begin(self) -> None:
        """Note what the script holds; call it before anything is written in the stage."""
        self._held.begin()

    def put_back(self, saved: TrainingState, *, ended: bool) -> None:
        """Put back the files of a checkpoint that are another now or missing.

        Call it before the stage opens a file.

        Args:
            ended: the stage is finished, and its result is restored.
        """
        records = [r for value in saved.get("files", []) if (r := Record.of(value)) is not None]
        earlier = [path for path in saved.get("folders", []) if isinstance(path, str)]
        then = {os.path.join(self._base, record.path): record for record in records}
        moves = [*self._outputs.moves(saved), *_folder_moves(earlier)]
        found = {_moved(path, moves): record for path, record in then.items()}
        self._paths.update(dict.fromkeys(found))
        EARLIER.add([*then, *earlier])
        self._folders = dict.fromkeys(earlier)
        self._positions = {
            _moved(os.path.join(self._base, name), moves): position
            for name, position in saved.get("held", [])
        }
        fork = self._session.job.fork
        if fork is not None and fork.began_with(saved.get("fork")):
            # those of the other job, which may train on and write them at this moment
            self._positions = {}
            missing = {path: r for path, r in found.items() if not os.path.exists(path)}
            PutBack(self._session, self._stage, ended=ended).all(missing)
            self._name_shared(fork, [p for p in found if p not in missing])
        elif not self._session.exports:
            self._say_moved(moves)
            PutBack(self._session, self._stage, ended=ended).all(found)
            held_files.seek(self._positions)
            self._then = {} if ended else {path: (r, identity(path)) for path, r in found.items()}

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        """Put back what callbacks have emptied, written or opened since, when they began again.

        Their ``on_train_begin`` and ``on_epoch_begin`` are called in each attempt.
        """
        if not self._then:
            return
        OPEN_FILES.flush()
        changed = {path: r for path, (r, before) in self._then.items() if identity(path) != before}
        ends = PutBack(self._session, self._stage, ended=False).all(changed)
        held_files.seek({**ends, **self._positions})
        self._then |= {path: (record, identity(path)) for path, record in changed.items()}

    def _name_shared(self, fork: Fork, paths: list[str]) -> None:
        """Name the files that both jobs write; they are left as they are."""
        if paths:
            names = few([short(path, self._base) for path in paths], _NAMED)
            text = f"{fork.job} wrote {names}, too"
            self._session.note_change(text)
            self._session.warn(
                f"{text}: left as it is now, not as of the checkpoint.",
                "Give the fork an output folder of its own.",
            )

    def _say_moved(self, moves: list[Move]) -> None:
        """Name output paths that are others in this attempt; those of ``tempfile`` always are."""
        said: list[Move] = []
        inside = os.path.join(self._base, "")  # the job itself may be below that folder
        moves = [
            move
            for move in moves
            if not move.is_temporary or os.path.abspath(move.new).startswith(inside)
        ]
        for move in moves:
            old, new = os.path.abspath(move.old), os.path.abspath(move.new)
            if all(one.target(old) != new for one in said):
                said.append(move)
        texts = [str(move) for move in said]
        for text in texts:
            self._session.note_change(text)
        if not moves:
            return
        dated = moves[0].is_dated
        why = ", named by the clock" if dated else ""
        rest = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
        self._session.warn(
            f"Output paths differ from those of earlier attempts{why}: {texts[0]}{rest}. Files of "
            "the restored stages are put into the new ones.",
            FREEZE if dated else "Give the same paths in every attempt.",
        )

    def capture(self, arrays: Tensors) -> TrainingState:
        ours = self._ours()

        def is_the_scripts(path: str) -> bool:
            return not path.startswith(ours)

        held = self._held.written(is_the_scripts)
        for path in (*self._targets(), *WRITTEN.paths, *held):
            self._paths.setdefault(os.path.abspath(path))
        for path in (path for path, is_mapped in held.items() if is_mapped):
            self._records.pop(path, None)  # its time does not tell that it was written
        records = self._record([path for path in self._paths if is_the_scripts(path)])
        made = [one for one in WRITTEN.folders if is_the_scripts(os.path.join(one, ""))]
        folders = [*self._folders, *(one for one in made if one not in self._folders)]
        return {
            "files": [record.as_json() for record in records],
            "folders": folders[-_FOLDERS:],
            "paths": self._outputs.as_json(),
            "held": [(short(path, self._base), at) for path, at in self._held.positions.items()],
        }

    def capture_again(self, arrays: Tensors) -> TrainingState:
        """Capture nothing: files are compared when they are put back."""
        return {}

    def caveats(self) -> list[Caveat]:
        return [
            Caveat(
                f"The training writes to {name}, which a library opened before it, and a relaunch "
                "does not restore its content",
                "open it in a callback for each write, or write each row under its epoch, so that "
                "a repeated one replaces it",
            )
            for name in self._held.foreign[:_NAMED]
        ]

    def receipt(self, saved: TrainingState) -> list[str]:
        names = [str(value.get("path")) for value in saved.get("files", [])]
        return [f"files: {few(names, 3)}"] if names else []

    def _record(self, paths: list[str]) -> list[Record]:
        kept = self._session.store.kept
        room = kept.left_for(self._stage)
        found: list[Record] = []
        left: list[str] = []
        # the newest first: the limit is for the files that matter
        for path, info in sorted(_files(paths), key=lambda one: -one[1].st_mtime_ns)[:_MOST]:
            identity = (info.st_size, info.st_mtime_ns, info.st_ino)
            known, record = self._records.get(path, (None, None))
            fits = info.st_size <= room
            if record is None or known != identity or (fits and not record.kept):
                record = self._make(path, info, keep=fits)
                self._records[path] = (identity, record)
            found.append(record)
            if record.kept:
                room -= record.bytes
            elif info.st_size:
                left.append(record.path)
        self._say_left(left)
        return found

    def _make(self, path: str, info: os.stat_result, *, keep: bool) -> Record:
        name = short(path, self._base)
        mode = stat.S_IMODE(info.st_mode) & 0o777
        if keep:
            try:
                digest, size = self._session.store.kept.add(Path(path))
                return Record(name, size, info.st_mtime_ns, mode, digest, kept=True)
            except OSError as error:
                log_line(f"{name} is not kept with the checkpoint: {error.strerror or error}.")
        return Record(name, info.st_size, info.st_mtime_ns, mode, None, kept=False)

    def _say_left(self, names: list[str]) -> None:
        if names and not self._said:
            self._said = True
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            limit = self._session.store.kept.limit
            log_line(
                f"{names[0]}{more}: above the limit of {limit} bytes (`checkpoint.keep_files`), "
                "not kept with the checkpoint."
            )

    def _ours(self) -> tuple[str, ...]:
        """Return how paths begin that are not the script's: of a run, a library or a cache."""
        return (os.path.join(str(self._session.run.root.absolute()), ""), *_LIBRARIES)


_LIBRARIES: Final = tuple(
    os.path.join(folder, "")
    for folder in (sys.prefix, sys.base_prefix, os.path.expanduser("~/.cache"))
)


def _moved(path: str, moves: list[Move]) -> str:
    """Return the path in this attempt."""
    return next(filter(None, (move.target(path) for move in moves)), path)


def _folder_moves(earlier: list[str]) -> list[Move]:
    """Compare the folders that the script has made with those of earlier attempts."""
    now = WRITTEN.folders
    found: list[Move] = []
    for new in sorted(now):
        old = [one for one in dated_like(new, earlier) if one not in now]
        if new not in earlier and old and all(move.target(old[-1]) != new for move in found):
            found.append(Move("", "", old[-1], new))
    return found


def _files(paths: list[str]) -> Iterable[tuple[str, os.stat_result]]:
    """Yield the regular files among some paths; a link counts as the file that it names."""
    for path in paths:
        try:
            info = os.stat(path)
        except OSError:
            continue  # removed meanwhile, e.g. a temporary file
        if stat.S_ISREG(info.st_mode):
            yield path, info
