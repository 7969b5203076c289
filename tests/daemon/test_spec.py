"""A spec is understood, or refused with key, line, reason and hint; nothing else happens."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import environment

from rekindle.daemon.intake import submit
from rekindle.daemon.spec import parse as spec
from rekindle.jobs.job import Job
from rekindle.state.errors import SpecError

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "spec.md").read_text()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    made = tmp_path / "train.py"
    made.write_text("pass\n")
    return made


def parse(text: str | bytes, filename: str = "job.toml", base: Path = Path("/")) -> Job:
    return spec.parse(text.encode() if isinstance(text, str) else text, filename, base)


def refused(text: str | bytes, filename: str = "job.toml", base: Path = Path("/")) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse(text, filename, base)
    assert caught.value.what.endswith(".")
    assert caught.value.hint
    return caught.value


def test_the_examples_of_the_documentation_mean_the_same_in_toml_and_yaml(
    tmp_path: Path, script: Path
) -> None:
    """Every key that the page shows is accepted as it stands there."""
    first, second = re.findall(r"```(?:toml|yaml)\n(.*?)```", PAGE, re.DOTALL)[:2]
    python = tmp_path / "python"
    python.write_text("")
    python.chmod(0o755)

    def here(text: str) -> str:
        return text.replace("/home/ana/fashion", str(tmp_path)).replace(
            "/home/ana/venv/bin/python", str(python)
        )

    toml, yaml_ = parse(here(first), "a.toml"), parse(here(second), "b.yaml")

    assert toml == yaml_
    assert toml.script == str(script)
    assert (toml.resources.gpus, toml.resources.memory) == (1, 16 * 2**30)
    assert (toml.checkpoint.every_steps, toml.checkpoint.keep) == (500, 3)
    assert (toml.retry.backoff_min, toml.retry.backoff_max) == (10, 600)
    assert (toml.limits.stop_grace, toml.limits.max_runtime) == (120, 8 * 3600)
    assert (toml.limits.hang_timeout, toml.limits.window) == (None, "22:00-07:00")


def test_every_key_is_documented_and_every_documented_key_is_known() -> None:
    """The page and the parser list the same keys."""
    page = (ROOT / "docs" / "reference" / "spec-keys.md").read_text()
    documented = set(re.findall(r"^### `([\w.]+)`$", page, re.MULTILINE))
    sections = set(re.findall(r"^## `\[(\w+)\]`$", page, re.MULTILINE))
    known = set()
    for section in ("", *(sections - {"grid"})):  # there any key is known
        text = f"[{section}]\nzzzzzz = 1\n" if section else "zzzzzz = 1\n"
        found = re.search(r"Known keys[^:]*: ([\w, ]+)\.", refused(text).hint)
        assert found is not None
        known |= {f"{section}.{key}".strip(".") for key in found[1].split(", ")}
    assert known - sections == documented
    assert {"resources", "checkpoint", "retry", "limits", "grid"} <= sections <= known


def test_defaults_are_those_of_the_documentation(script: Path) -> None:
    """The smallest spec: a script; its name is the file's, its folder the script's."""
    job = parse(f'script = "{script}"', "night-run.toml")
    assert (job.name, job.workdir) == ("night-run", str(script.parent))
    assert (job.seed, job.priority, job.args, job.env, job.after) == (0, 0, [], {}, [])
    assert (job.checkpoint.keep, job.checkpoint.monitor, job.checkpoint.mode) == (3, None, "auto")
    assert (job.retry.max_failures, job.retry.backoff_min, job.retry.backoff_max) == (5, 10, 600)
    assert (job.limits.stop_grace, job.limits.hang_timeout, job.limits.window) == (120, None, None)


@pytest.mark.parametrize(
    ("text", "key", "line", "near"),
    [
        ('script = "/x"\npriorty = 1', "priorty", 2, "`priority`"),
        (
            'script = "/x"\n[checkpoint]\nkeep = 1\nmonitr = "loss"',
            "checkpoint.monitr",
            4,
            "`monitor`",
        ),
        ("[chekpoint]\nkeep = 1", "chekpoint", 1, "`checkpoint`"),
        ("[limits]\nhang_timeuot = '1 h'", "limits.hang_timeuot", 2, "`hang_timeout`"),
        ('script = "/x"\n[checkpoint]\nsave_freq = 5', "checkpoint.save_freq", 3, '"500 steps"'),
        ("limits.windw = '22:00-07:00'", "limits.windw", 1, "`window`"),
        ("limits = { windw = '22:00-07:00' }", "limits.windw", 1, "`window`"),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_one_named(
    text: str, key: str, line: int, near: str
) -> None:
    """A misspelt `max_failures` must not mean the default for a whole night."""
    error = refused(text)
    assert (error.key, error.line) == (key, line)
    assert near in error.hint


def test_the_line_of_a_key_is_known_in_yaml_too() -> None:
    """Also inside of a section."""
    error = refused("command: [x]\nworkdir: /\ncheckpoint:\n  keep: 3\n  mod: min\n", "a.yml")
    assert (error.key, error.line, error.where) == ("checkpoint.mod", 5, "a.yml:5")
    assert "`mode`" in error.hint


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("name = 3", "name"),
        ('name = "Fashion"', "name"),
        ('name = ""', "name"),
        ('name = "../../etc"', "name"),
        ('name = "a/b"', "name"),
        ('name = "a..b"', "name"),
        ('name = ".hidden"', "name"),
        (f'name = "{"a" * 65}"', "name"),
        ('name = "a\\u0000"', "name"),
        ('name = "a\\n"', "name"),
        ("args = [1, 2]", "args"),
        ('args = "--epochs 5"', "args"),
        ('args = ["\\u0000"]', "args"),
        ("seed = -1", "seed"),
        ("seed = 4294967296", "seed"),
        ("seed = true", "seed"),
        ('seed = "1"', "seed"),
        ("seed = 1.5", "seed"),
        ('priority = "high"', "priority"),
        ("priority = 10000000000", "priority"),
        ('workdir = "relative"', "workdir"),
        ('workdir = "/does/not/exist"', "workdir"),
        ("workdir = 1", "workdir"),
        ('python = "python3"', "python"),
        ('python = "/etc"', "python"),
        ("env = 1", "env"),
        ("env = { A = 1 }", "env"),
        ('env = { "A=B" = "1" }', "env"),
        ('env = { REKINDLE_JOB = "x" }', "env"),
        ('after = ["../x"]', "after"),
        ("after = [1]", "after"),
        ('after = ["a", "b/../c"]', "after"),
        ('warm_start = "../x"', "warm_start"),
        ('warm_start = "/etc/passwd"', "warm_start"),
        ('live = "yes"', "live"),
        ("resources = 1", "resources"),
        ("resources.gpus = -1", "resources.gpus"),
        ("resources.gpus = 1.0", "resources.gpus"),
        ('resources.memory = "16"', "resources.memory"),
        ("resources.memory = 16", "resources.memory"),
        ("checkpoint.keep = 0", "checkpoint.keep"),
        ('checkpoint.every = "now and then"', "checkpoint.every"),
        ('checkpoint.every = "0 steps"', "checkpoint.every"),
        ("checkpoint.every = 5", "checkpoint.every"),
        ('checkpoint.mode = "best"', "checkpoint.mode"),
        ("checkpoint.mode = []", "checkpoint.mode"),
        ("checkpoint.save_best_only = 1", "checkpoint.save_best_only"),
        ("retry.max_failures = -1", "retry.max_failures"),
        ('retry.backoff = "10s"', "retry.backoff"),
        ('retry.backoff = "10min..10s"', "retry.backoff"),
        ("retry.backoff = 10", "retry.backoff"),
        ('limits.stop_grace = "0s"', "limits.stop_grace"),
        ("limits.max_runtime = 8", "limits.max_runtime"),
        ('limits.window = "22-7"', "limits.window"),
        ('limits.window = "22:00-22:00"', "limits.window"),
        ('limits.hang_timeout = "never"', "limits.hang_timeout"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(line: str, key: str) -> None:
    """Each key, each way to get it wrong; names cannot leave the home."""
    text = line if line.startswith("workdir") else f"workdir = '/'\n{line}"
    error = refused(f"command = ['true']\n{text}")
    assert error.key == key
    assert error.line == text.count("\n") + 2


def test_all_problems_are_reported_at_once() -> None:
    """Nobody wants to fix a spec five times."""
    said = str(refused('name = "A"\nseed = "x"\nunknwon = 1\nscript = "/not/there"\n'))
    for part in ("`name`", "`seed`", "`unknwon`", "/not/there"):
        assert part in said


def test_a_secret_in_env_is_in_no_message_and_no_repr() -> None:
    """Not even where the value beside it is wrong."""
    error = refused("command = ['x']\nenv = { TOKEN = 's3cret', OTHER = 5 }\nx = 1\n")
    assert "s3cret" not in str(error)
    job = parse("command = ['x']\nworkdir = '/'\nenv = { TOKEN = 's3cret' }\n")
    assert "s3cret" not in repr(job)
    assert "s3cret" not in job.to_json(secrets=False)
    assert "TOKEN" in job.to_json(secrets=False)
    assert Job.from_json(job.to_json()).env == {"TOKEN": "s3cret"}


def test_a_script_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """At once, and not by a traceback at midnight."""
    error = refused('\nscript = "train.py"', base=tmp_path)
    assert (error.key, error.line) == ("script", 2)
    assert str(tmp_path / "train.py") in error.what
    refused(f'script = "{tmp_path}"')


def test_exactly_one_thing_runs(script: Path) -> None:
    """Neither nothing nor two things."""
    assert "what to run" in refused("seed = 1").what
    assert "only one" in refused(f'script = "{script}"\nmodule = "a.b"').what
    assert parse('module = "pkg.train"', base=script.parent).workdir == str(script.parent)
    refused('module = "pkg..train"')
    refused("command = []\nworkdir = '/'")


def test_the_files_name_must_make_a_name(script: Path) -> None:
    """Else the spec has to say one."""
    assert "file's name" in refused(f'script = "{script}"', "My Run.toml").what
    assert parse(f'name = "ok"\nscript = "{script}"', "My Run.toml").name == "ok"


@pytest.mark.parametrize(
    ("text", "line"),
    [('script = "a\n', 1), ("a = 1\na = 2\n", 2), ("a = 1\n\n[b\n", 3), ("= 1", 1), ("a = 1\0", 1)],
)
def test_broken_toml_is_refused_with_its_line(text: str, line: int) -> None:
    """Syntax errors say where."""
    error = refused(text)
    assert "not valid TOML" in error.what
    assert error.line == line


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: [1\nb: 2\n", 2, "YAML"),
        ("a: 1\na: 2\n", 2, "twice"),
        ("a: &x 1\nb: *x\n", 2, "alias"),
        ("- 1\n- 2\n", 1, "mapping"),
        ("just a text", 1, "mapping"),
        ("", 1, "mapping"),
        ("a: !!python/object/apply:os.system [id]\n", 1, "YAML"),
        ("a: 1\n---\nb: 2\n", 2, "YAML"),
        ("a:\n\t- 1\n", 2, "YAML"),
        ("checkpoint:\n  keep: 1\n  keep: 2\n", 3, "twice"),
        ("a: !secret x\n", 1, "YAML"),
        ("2020-13-45: 1\n", 1, "no key"),
        ("? [a]\n: 1\n", None, ""),
    ],
)
def test_yaml_that_is_broken_or_too_clever_is_refused(
    text: str, line: int | None, what: str
) -> None:
    """Doubled keys, aliases, tags and second documents as well; no object is ever built."""
    error = refused(text, "a.yaml")
    assert what in error.what
    if line is not None:
        assert error.line == line


@pytest.mark.parametrize(
    "text",
    [
        "seed: 0123",
        "seed: 1:30",
        "seed: 1:30:00",
        "priority: 010",
        "priority: 2:00",
        "seed: 1_000",
        "seed: 0b101",
        "seed: 1e3",
        "seed: 1.0",
        "seed: .inf",
        'seed: "5"',
        "seed: +-1",
        "seed: 0o8",
        "priority: +010",
        "checkpoint:\n  keep: 03",
        "retry: {max_failures: 1:00}",
        "resources: {gpus: 0_1}",
        "live: off",
        "live: yes",
        "allow_change: on",
        "live: n",
        "checkpoint: {save_best_only: Yes}",
        "seed: 2024-01-01",
        "limits: {stop_grace: 1:30}",
        "limits: {max_runtime: 8:00:00}",
    ],
)
def test_yaml_numbers_and_flags_of_version_1_1_are_refused(script: Path, text: str) -> None:
    """None becomes another value in silence: 0123 would be 83, 1:30 would be 90."""
    error = refused(f"script: {script}\n{text}\n", "a.yaml")
    assert error.key is not None
    assert error.key.rpartition(".")[2] in text
    assert error.line == 2 + text.count("\n")
    assert "without quotes" in error.hint or "Expected a duration" in error.hint


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("seed: 0o17", "seed", 15),
        ("seed: 0x10", "seed", 16),
        ("priority: -7", "priority", -7),
        ("priority: +7", "priority", 7),
        ("live: TRUE", "live", True),
        ("live: false", "live", False),
        (
            "args: [0123, 1:30, yes, off, 2024-01-01, 1e-3]",
            "args",
            ["0123", "1:30", "yes", "off", "2024-01-01", "1e-3"],
        ),
        ("name: no", "name", "no"),
        ("name: 2024-01-01", "name", "2024-01-01"),
        (
            "env: {DEBUG: on, COUNTRY: NO, MODE: 0755}",
            "env",
            {"DEBUG": "on", "COUNTRY": "NO", "MODE": "0755"},
        ),
    ],
)
def test_yaml_means_what_version_1_2_says(script: Path, text: str, key: str, value: object) -> None:
    """A text there stays as it is written, through `rekindle submit` as well."""
    spec_file = script.with_name("a.yaml")
    spec_file.write_text(f"script: {script}\n{text}\n")
    assert getattr(parse(spec_file.read_bytes(), "a.yaml"), key) == value
    _, data = submit.spec_from_file(spec_file)
    assert getattr(parse(data, "a.yaml"), key) == value


def test_a_text_that_looks_like_a_number_stays_one_through_submit(script: Path) -> None:
    """A quoted text is written into the inbox with quotes, or the daemon would refuse it."""
    words = [
        "0o17",
        "0x1F",
        "1.5e3",
        "-.5",
        "1e3",
        "010",
        "true",
        "~",
        "<<",
        "",
        "12",
        ".inf",
        "no",
    ]
    spec_file = script.with_name("a.yaml")
    spec_file.write_text(f"script: {script}\nargs: {json.dumps(words)}\n")
    _, data = submit.spec_from_file(spec_file)
    assert parse(data, "a.yaml").args == words


@pytest.mark.parametrize(
    "text",
    [
        "seed: !!int 0123",
        "seed: !!int '0123'",
        "live: !!bool yes",
        "args: !!seq [a]",
        "seed: !!float 1",
        "name: !!str 1",
        "env: !!map {}",
    ],
)
def test_yaml_tags_are_refused(script: Path, text: str) -> None:
    """A tag would bring the octal number of YAML 1.1 back."""
    error = refused(f"script: {script}\n{text}\n", "a.yaml")
    assert "tags are not allowed" in error.what
    assert error.line == 2


@pytest.mark.parametrize(("key", "line"), [("script", 1), ("workdir", 2), ("python", 3)])
@pytest.mark.parametrize("suffix", ["toml", "yaml"])
def test_a_home_folder_that_does_not_exist_is_refused_with_its_line(
    script: Path, key: str, line: int, suffix: str
) -> None:
    """`~nosuchuser/` in any path: no traceback, in `submit` and in the daemon."""
    values = {
        "script": str(script),
        "workdir": str(script.parent),
        "python": sys.executable,
        key: "~nosuchuser/x",
    }
    mark = " =" if suffix == "toml" else ":"
    text = "".join(f"{name}{mark} {json.dumps(value)}\n" for name, value in values.items())
    error = refused(text, f"a.{suffix}")
    assert (error.key, error.line) == (key, line)
    assert "~nosuchuser" in error.what
    written = script.with_name(f"b.{suffix}")
    written.write_text(text)
    with pytest.raises(SpecError):
        submit.spec_from_file(written)


@pytest.mark.parametrize(
    "words", [["--home", "~nosuchuser/x", "ls"], ["--home", "~nosuchuser", "submit", "a.py"]]
)
def test_a_home_of_nobody_is_an_error_and_no_traceback(words: list[str]) -> None:
    """`--home ~nosuchuser` is a sentence with the way on."""
    ran = subprocess.run(
        [sys.executable, "-m", "rekindle.daemon", *words],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 4
    assert "Traceback" not in ran.stderr
    assert "~nosuchuser" in ran.stderr
    assert "--home" in ran.stderr


@pytest.mark.parametrize(
    ("text", "filename"),
    [
        ("a: " + "[" * 100_000, "a.yaml"),
        ("a: " + "{a: " * 50_000, "a.yaml"),
        ("a = " + "[" * 100_000, "a.toml"),
        ("a = " + "{a=" * 50_000, "a.toml"),
        ("a." * 100_000 + "a = 1", "a.toml"),
        ("- " * 100_000, "a.yaml"),
        ("[" + "a." * 50_000 + "a]\n", "a.toml"),
        ("a: " + "9" * 100_000, "a.yaml"),
        ("a = " + "9" * 100_000, "a.toml"),
        ("seed = 0x" + "f" * 100_000, "a.toml"),
        ("priority: 0x" + "f" * 100_000, "a.yaml"),
        ("'a'. \"a\" ." * 50_000 + "a = 1", "a.toml"),
        ('x = """' + '\\"""' * 200_000, "a.toml"),
        ("a" * 10**6, "a.toml"),
        ("a " * 500_000, "a.toml"),
        ('t = {x = """a"""", ' + "a." * 50_000 + 'a = 1, y = "z"}', "a.toml"),
        ("x = '" * 200_000, "a.toml"),
        ("x = '''" * 100_000, "a.toml"),
        ("#" * 10**6, "a.toml"),
    ],
)
def test_depth_and_length_end_in_a_refusal_and_not_in_a_crash(text: str, filename: str) -> None:
    """Neither the stack nor the clock is at the mercy of a spec."""
    refused(text, filename)


def test_dots_in_texts_are_no_depth(script: Path) -> None:
    """Only keys are counted."""
    dots = "a." * 100
    job = parse(f'script = "{script}" # {dots}\nargs = ["{dots}", \'{dots}\', """\n{dots}\n"""]')
    assert job.args == [dots, dots, f"{dots}\n"]


def test_a_billion_laughs_are_not_laughed() -> None:
    """Aliases are refused before anything is built."""
    text = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
    )
    assert "alias" in refused(text, "a.yaml").what


@pytest.mark.parametrize("suffix", ["toml", "yaml"])
def test_a_byte_order_mark_and_crlf_are_fine(script: Path, suffix: str) -> None:
    """Editors on other systems write them."""
    line = f'script = "{script}"' if suffix == "toml" else f"script: {script}"
    job = parse(b"\xef\xbb\xbf" + f"{line}\r\n".encode(), f"a.{suffix}")
    assert job.script == str(script)


def test_what_is_not_utf8_is_refused_with_its_line() -> None:
    """Latin-1 would put other letters into a path."""
    error = refused("command = ['x']\nname = 'f\xe4'".encode("latin-1"))
    assert (error.what, error.line) == ("The spec is not UTF-8 text.", 2)


def test_a_lone_surrogate_cannot_get_in() -> None:
    """It could be written neither into the ledger nor into a file name."""
    refused('command = ["\\ud800"]\nworkdir = "/"')
    refused('command: ["\\ud800"]\nworkdir: /\n', "a.yaml")
    refused('command: ["x"]\nworkdir: /\nenv: {A: "\\ud800"}\n', "a.yaml")


def test_more_than_a_mebibyte_is_refused() -> None:
    """Data belongs into files of its own."""
    assert "1 MiB" in refused(b"#" * (spec.MAX_BYTES + 1)).hint


KEYS = st.sampled_from(
    [
        "name",
        "script",
        "module",
        "command",
        "args",
        "workdir",
        "python",
        "env",
        "seed",
        "priority",
        "after",
        "warm_start",
        "live",
        "resources",
        "checkpoint",
        "retry",
        "limits",
        "nmae",
        "gpus",
        "every",
        "keep",
    ]
)
PLAIN: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEYS | st.text(max_size=8), PLAIN, max_size=5))
def test_any_table_is_accepted_or_refused_and_nothing_else(table: dict[str, Any]) -> None:
    """Whatever values stand under whatever keys."""
    for text in (yaml.safe_dump(table, allow_unicode=True), json.dumps(table)):
        try:
            job = parse(text, "a.yaml")
        except SpecError:
            continue
        assert Job.from_json(job.to_json()) == job
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", job.name)
        job.to_json().encode()


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=400) | st.text(max_size=200).map(lambda t: t.encode()),
    st.sampled_from(["a.toml", "a.yaml"]),
)
def test_any_bytes_are_accepted_or_refused_and_nothing_else(data: bytes, filename: str) -> None:
    """Garbage of every kind."""
    try:
        parse(data, filename)
    except SpecError as error:
        str(error).encode()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "name",
                "=",
                ":",
                " ",
                "\n",
                "[",
                "]",
                "{",
                "}",
                '"',
                "'",
                "checkpoint",
                ".",
                "keep",
                "1",
                "- ",
                "&a",
                "*a",
                "!!",
                "#",
                "\t",
                "|",
                ">",
                "---",
                "...",
                ",",
                "?",
                "2020-01-01",
                "1e400",
                "nan",
                "inf",
                "0o7",
                "\\u0000",
                '"""',
            ]
        ),
        max_size=40,
    )
)
def test_pieces_of_syntax_in_any_order_are_accepted_or_refused(pieces: list[str]) -> None:
    """Nearly right is where parsers break."""
    for filename in ("a.toml", "a.yaml"):
        try:
            parse("".join(pieces), filename)
        except SpecError:
            pass


def test_a_job_file_of_a_newer_version_is_refused_and_of_an_older_one_read() -> None:
    """Extra keys of a newer minor version are passed over; a newer format is not guessed at."""
    job = parse("command = ['x']\nworkdir = '/'\n")
    value = json.loads(job.to_json())
    assert Job.from_json(json.dumps({**value, "invented_later": 1})) == job
    del value["live"]
    assert Job.from_json(json.dumps(value)) == job
    with pytest.raises(SpecError, match="newer"):
        Job.from_json(json.dumps({**value, "format": 99}))
    for text in ("", "[]", "{}", '{"format": 1}', "null", '{"format": "x"}', "[" * 100_000):
        with pytest.raises(SpecError):
            Job.from_json(text)


def test_the_command_of_the_documentation_is_in_sound_toml() -> None:
    """The manifest on the page is what the verifying code reads."""
    found = re.search(r"`(\{\"format\": 1.*?\}\}\})`", PAGE, re.DOTALL)
    assert found is not None
    assert set(json.loads(found[1])) == {"format", "name", "files"}
