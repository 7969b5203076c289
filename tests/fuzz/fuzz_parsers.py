"""Coverage-guided fuzzing of what reads files of others: spec, request, journal, manifest.

Run: ``python tests/fuzz/fuzz_parsers.py [-max_total_time=180] [CORPUS]``, with the extra
``fuzz`` installed; the arguments are libFuzzer's. Each parser may refuse an input in the ways
that it documents; anything else that it raises, or a hang, ends the run with the input kept.

With ``COVERAGE`` as the first argument nothing is fuzzed: the corpus is replayed once, and the
lines of the four parsers that it reaches are counted (needs the package ``coverage``).
"""

import os
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".importroot"))
FOLDER = Path(tempfile.mkdtemp(prefix="rekindle-fuzz-"))
SEEDS = [
    (
        b'0script = "/dev/null"\nname = "a"\nseed = 3\n[limits]\nwindow = "22:00-07:00"\n'
        b'stop_grace = "2m"\n[checkpoint]\nevery = "500 steps"\nkeep = 3\nmonitor = "loss"\n'
    ),
    (
        b'0command = ["true"]\nenv = { A = "b" }\n[retry]\nbackoff = "1s..2m"\nmax_failures = 2\n'
        b'[resources]\ngpus = 1\nmemory = "2 GiB"\n'
    ),
    b'1command: ["true"]\nworkdir: /\nafter: [a-1]\nlimits:\n  max_runtime: 2h\n',
    (
        b"1module: a.b\npython: /bin/sh\nargs: [--x, '1']\nwarm_start: a-1\ncheckpoint:\n"
        b"  every: epoch\n  save_best_only: true\n"
    ),
    b'2{"format": 1, "verb": "priority", "job": "a-1", "value": 3}',
    b'2{"format": 1, "verb": "pause"}',
    b'3{"v":1,"t":1.5,"kind":"resumed","attempt":1,"epoch":2,"step":3}',
    b'4{"v":1,"kind":"checkpoint_committed","name":"e0001-s00000001","bytes":5}\n\n{"crc":"x"}',
    b'5{"format": 1, "files": {"state.safetensors": {"bytes": 1, "sha256": "x"}}}',
]
FILES = (
    "daemon/spec/document.py",
    "daemon/spec/fields.py",
    "daemon/spec/job_fields.py",
    "daemon/spec/kinds.py",
    "daemon/spec/parse.py",
    "jobs/quantities.py",
    "daemon/spec/toml_text.py",
    "daemon/spec/yaml_text.py",
    "daemon/intake/requests.py",
    "state/run/journal.py",
    "state/run/checkpoints.py",
)


def targets() -> list[Callable[[bytes], None]]:
    """One for each first byte ``0`` to ``5`` of an input; the rest of it is what is read."""
    from rekindle.daemon.intake import requests
    from rekindle.daemon.spec import parse as spec
    from rekindle.state.errors import SpecError
    from rekindle.state.run import checkpoints, journal

    shelf = FOLDER / "checkpoints"
    checkpoint = shelf / "e0001-s00000001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.safetensors").write_bytes(b"x")

    def a_spec(name: str) -> Callable[[bytes], None]:
        def parse(data: bytes) -> None:
            try:
                job = spec.parse(data, name, FOLDER)
            except SpecError as error:
                assert error.what
                assert error.hint
            else:
                # what was accepted must be read again as the same
                assert type(job).from_json(job.to_json()) == job
                assert "/" not in job.name

        return parse

    def a_request(data: bytes) -> None:
        path = FOLDER / "x.request.json"
        path.write_bytes(data)
        try:
            requests.read(path)
        except ValueError as error:
            assert str(error)

    def a_sealed_line(data: bytes) -> None:
        body = data.rstrip(b"}") + b"}"
        a_journal(body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body))

    def a_journal(data: bytes) -> None:
        path = FOLDER / "journal.jsonl"
        path.write_bytes(data)
        read = journal.replay(path)
        assert read.offset <= len(data)
        assert all(isinstance(entry["kind"], str) for entry in read.entries)

    def a_manifest(data: bytes) -> None:
        (checkpoint / "manifest.json").write_bytes(data)
        for found in checkpoints.scan(shelf):
            reason = checkpoints.verify(found)
            assert reason is None or reason

    return [a_spec("a.toml"), a_spec("a.yaml"), a_request, a_sealed_line, a_journal, a_manifest]


def one_input(data: bytes) -> None:
    if data and 0 <= (which := data[0] - ord("0")) < len(TARGETS):
        TARGETS[which](data[1:])


def measure(corpus: Path) -> None:
    """Replays a corpus and prints the share of lines and branches it reaches."""
    import coverage

    seen = coverage.Coverage(
        branch=True,
        data_file=None,
        include=[str(ROOT / ".importroot" / "rekindle" / f) for f in FILES]
        + [str(ROOT / f) for f in FILES],
    )
    seen.start()
    TARGETS.extend(targets())
    inputs = sorted(corpus.iterdir())
    for file in inputs:
        one_input(file.read_bytes())
    seen.stop()
    print(f"{len(inputs)} inputs")
    seen.report(file=sys.stdout)


def main() -> None:
    if sys.argv[1:2] == ["COVERAGE"]:
        measure(Path(sys.argv[2]))
        return
    import atheris

    with atheris.instrument_imports(include=["rekindle", "yaml", "tomllib", "json"]):
        TARGETS.extend(targets())
    seeds = FOLDER / "seeds"
    seeds.mkdir()
    for n, seed in enumerate(SEEDS):
        (seeds / str(n)).write_bytes(seed)
    own = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if not own:
        # the first folder receives what is found
        own = [str(FOLDER / "corpus")]
        os.mkdir(own[0])
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    atheris.Setup(
        [sys.argv[0], "-timeout=10", "-max_len=2048", *options, *own, str(seeds)], one_input
    )
    atheris.Fuzz()


TARGETS: list[Callable[[bytes], None]] = []

if __name__ == "__main__":
    main()
