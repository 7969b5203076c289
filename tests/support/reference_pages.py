"""Write the pages of docs/reference from the code: `make reference`."""

import argparse
import ast
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rig import ROOT

from rekindle.daemon import config
from rekindle.daemon.client import cli
from rekindle.daemon.spec import fields, job_fields
from rekindle.daemon.spec.fields import Field, Free, Table
from rekindle.daemon.submission import options, toml_writer
from rekindle.jobs import environment, quantities
from rekindle.state import errors
from rekindle.state.paths import Home, Run

FOLDER: Final = ROOT / "docs" / "reference"
MORE: Final = {
    "command": "../spec.md#commands",
    "python": "../spec.md#without-a-spec-file",
    "priority": "../queue.md#order",
    "after": "../queue.md#after-one-job-after-another",
    "warm_start": "../article.md#beginning-with-the-weights-of-another-job",
    "freeze_clock": "../reliability.md#a-folder-named-by-the-clock",
    "resources.gpus": "../queue.md#gpus",
    "resources.require_gpu": "../spec.md#a-gpu-that-the-library-does-not-see",
    "checkpoint.keep": "../configuration.md#what-is-removed-and-when",
    "checkpoint.keep_files": "../reliability.md#files-that-the-script-writes",
    "checkpoint.keep_ends": "../reliability.md#the-cost-of-many-stages",
    "checkpoint.prove_steps": "../reliability.md#each-relaunch-proves-itself",
    "limits.max_runtime": "../queue.md#max_runtime",
    "limits.window": "../queue.md#windows",
    "grid": "../spec.md#grid",
    "umask": "../operations.md#several-people",
    "gpus": "../queue.md#gpus",
    "logs": "../configuration.md#logs",
    "retention": "../configuration.md#what-is-removed-and-when",
    "per_user": "../configuration.md#limits-per-user",
    "notify": "../configuration.md#notifications",
}
"""The page that explains a key or a section; a link that leads nowhere fails a test."""
WRONG: Final = ("soon", 5, -1, True, "", ["a", 1], {"REKINDLE_X": "1"})
"""Values that are tried at each key, to show what is said about them."""
FOR_PEOPLE: Final = {
    "REKINDLE_HOME": "the home, where `--home` does not say it: "
    "[which home a verb uses](../operations.md#which-home-a-verb-uses)",
    "XDG_STATE_HOME": "the folder of a user's own home, `$XDG_STATE_HOME/rekindle`; "
    "`~/.local/state` where it is not set",
    "CUDA_VISIBLE_DEVICES": "of the daemon: the only GPUs that it gives out; `-1`: none",
    "NO_COLOR": "any value: no colours",
    "TERM": "`dumb`: no colours",
    "SHELL": "the shell that `rekindle shell` opens",
}
"""Variables that a person sets for daemon and verbs."""
OF_TESTS: Final = {"REKINDLE_CRASH_POINT"}
"""Variables that do nothing outside of the tests."""
CODES: Final = {
    0: "what was asked is done, or will be",
    1: "the job failed, is held or was cancelled; its state does not allow what was asked; the "
    "system refused something, with the file and its reason; `doctor` found an error",
    2: "wrong usage or configuration; the daemon refused the spec or the request",
    3: "not found",
    4: "the home cannot be used, or not by this user",
    5: "no answer in time",
    130: "ended by Ctrl-C",
}
LOST: Final = {
    "inbox": "what was dropped and not yet accepted",
    "rejected": "the reasons of refusals",
    "claimed": "what was dropped and not yet accepted",
    "ledger": "nothing: `rekindle verify --rebuild`",
    "config": "defaults",
    "queue": "those decisions",
    "runs": "all jobs",
    "sources": "the jobs' own code",
    "imports": "nothing: `rekindle import-run` again",
    "notify": "what waits; nothing is sent twice",
    "daemon_lock": "nothing: the folder is locked, too",
    "daemon_status": "verbs take a daemon that runs for dead until it starts again",
    "job_file": "the job",
    "lock": "nothing: the folder is locked, too",
    "heartbeat": "how far the attempt came: a relaunch counts too few repeated steps, and a hang "
    "is judged from the removal on",
    "step_record": "the next relaunch cannot prove that its repeated steps are identical, and "
    "says so",
    "running_time": "of a killed attempt its time since the last heartbeat",
    "keeper_log": "nothing",
    "journal": "the history of the job",
    "journal_summary": "nothing: the next end reads the whole journal once",
    "reserve": "on a full disk, how the attempt ended",
    "logs": "that output",
    "log": "that output",
    "log_times": "the times of `logs --times` and `--since`",
    "checkpoints": "work since the previous one",
    "kept_files": "a relaunch cannot put these files back",
    "frozen_clock": "the next attempt reads its own date",
    "quarantine": "the refused checkpoints",
    "source": "the job's own code",
    "earlier_code": "the code of earlier attempts",
    "tensorboard": "those files",
    "exports": "those files",
    "warm_start": "the weights that a start from scratch begins with",
    "warm_start_source": "the same",
    "architecture": "`export` without `--run-script`",
    "spec_copy": "the text of the spec; `job.json` has what it says",
}
"""The loss, by the name of each file of a home or a run."""


def texts() -> dict[str, str]:
    """Compose all pages, by the names of their files."""
    pages = {
        "spec-keys.md": spec_keys(),
        "configuration-keys.md": configuration_keys(),
        "verbs.md": verbs(),
        "environment.md": variables(),
        "exit-codes.md": exit_codes(),
        "files.md": files(),
    }
    return {name: _lines(_headed(text)) for name, text in pages.items()}


def _headed(text: Iterator[str]) -> Iterator[str]:
    yield next(text)
    yield "<!-- written by `make reference` from the code: change it there -->"
    yield from text


def _lines(blocks: Iterator[str]) -> str:
    return "\n\n".join(blocks) + "\n"


# ---- keys


def spec_keys() -> Iterator[str]:
    yield "# Keys of a spec"
    yield (
        "All keys are optional, but exactly one of "
        f"{', '.join(f'`{key}`' for key in job_fields.WHAT_RUNS)} is needed. "
        "[Specs](../spec.md) has an example, and says what happens to a spec that is refused. "
        "The text after *refused* is what the daemon and `rekindle submit` say."
    )
    yield from _table(job_fields.SPEC)
    yield from _units()


def configuration_keys() -> Iterator[str]:
    yield "# Keys of rekindle.toml"
    yield (
        "The file is optional, and so is each key. [Configuration](../configuration.md) says where "
        "it is and when it is read."
    )
    yield from _table(config.CONFIG)
    yield from _units()


def _table(table: Table) -> Iterator[str]:
    yield "| key | value | default |\n|---|---|---|\n" + "\n".join(
        f"| [`{name}`](#{_anchor(name)}) | {_words(field)} | {_default(field)} |"
        for name, field in _all(table)
    )
    for section in (table, *table.sections):
        if section.name:
            yield f"## `[{section.name}]`"
            yield section.doc + _more(section.name, " ")
        else:
            yield "## Outside of a section"
        for field in section.fields:
            yield from _entry(section, field)
        if section.free is not None:
            yield from _free(section, section.free)
        if section.foreign:
            yield "Keys of other programs are refused with what to write instead:"
            yield "\n".join(f"- `{key}`: {hint}" for key, hint in section.foreign.items())


def _entry(section: Table, field: Field) -> Iterator[str]:
    name = f"{section.name}.{field.name}".strip(".")
    yield f"### `{name}`"
    yield field.doc + _more(name, " ")
    said = [f"- value: {_words(field)}"]
    if field.default is not None:
        said.append(f"- default: {_default(field)}")
    if field.example is not None:
        said.append(f"- example: `{_toml(field.name, field.example)}`")
    if section in (job_fields.SPEC, *job_fields.SPEC.sections) and field.name in options.KEYS:
        said.append(f"- option of `submit`: `{options.KEYS[field.name].option}`")
    said += [f"- refused: `{value}`: {message}" for value, message in _refusals(section, field)]
    yield "\n".join(said)


def _free(section: Table, free: Free) -> Iterator[str]:
    """Explain keys that a person chooses."""
    [(name, value)] = free.example.items()
    refused = _refusals(section, Field(name, free.values, ""))
    yield "\n".join(
        [
            f"- keys: chosen by you; value: {_words(Field(name, free.values, ''))}",
            f"- example: `{_toml(name, value)}`",
            *(f"- refused: `{value}`: {message}" for value, message in refused),
        ]
    )


def _refusals(section: Table, field: Field) -> list[tuple[str, str]]:
    """Try wrong values, and keep the two that are refused in the most different ways."""
    found: dict[str, tuple[str, str]] = {}
    for value in WRONG:
        given = {section.name: {field.name: value}} if section.name else {field.name: value}
        table = job_fields.SPEC if _of_spec(section) else config.CONFIG
        for problem in fields.read(given, table)[1]:
            kind = problem.what.partition(", not ")[0].split(" cannot be ")[0]
            message = f"{problem.what} {problem.hint}"
            found.setdefault(kind, (_toml(field.name, value), message))
    return list(found.values())[:2]


def _of_spec(section: Table) -> bool:
    return section is job_fields.SPEC or section in job_fields.SPEC.sections


def _all(table: Table) -> Iterator[tuple[str, Field]]:
    for section in (table, *table.sections):
        for field in section.fields:
            yield f"{section.name}.{field.name}".strip("."), field


def _default(field: Field) -> str:
    if field.default is None:
        return ""
    return f"`{_toml('x', field.default).removeprefix('x = ')}`"


def _toml(key: str, value: Any) -> str:
    return toml_writer.dumps({key: value}).strip()


def _words(field: Field) -> str:
    """Say what a key may have: in the words of its kind, else in those of its schema."""
    return re.sub(r'("[^"]*")', r"`\1`", field.kind.words) or _schema(field.kind.schema)


def _schema(schema: Any) -> str:
    if "const" in schema:
        return f"`{_toml('x', schema['const']).removeprefix('x = ')}`"
    if "enum" in schema:
        return ", ".join(f'`"{word}"`' for word in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_schema(one) for one in schema["anyOf"])
    if schema["type"] == "integer":
        low, high = schema.get("minimum"), schema.get("maximum")
        bounds = f" from {low} to {high}" if high is not None else f", {low} or more"
        return f"a whole number{bounds}"
    if schema["type"] == "array":
        items = schema.get("items", {})
        plural = {"string": "texts", "number": "numbers", "boolean": "`true`, `false`"}
        several = ", ".join(plural[one["type"]] for one in items.get("anyOf", ()))
        return f"a list of {several or (_schema(items) if 'enum' in items else 'texts')}"
    return {
        "string": "a text",
        "number": "a number",
        "boolean": "`true` or `false`",
        "object": "a table",
    }[schema["type"]]


def _units() -> Iterator[str]:
    yield "## Values with units"
    yield (
        "A duration is a number and a unit of time: "
        f"{_units_of(quantities.SECONDS)}. A size is a number and a unit of memory: "
        f"{_units_of(quantities.BYTES)}; `kB` is 1000 bytes, `KiB` 1024. A range is two durations, "
        'shortest first: `"10s..10min"`. A percentage is `"80%"`, times of day are '
        '`"22:00-07:00"`, over midnight if need be.'
    )


def _units_of(units: dict[str, Any]) -> str:
    """List units in the case in which people write them; any case is understood."""
    names = (
        re.sub(r"^(.*)b$", lambda m: m[1].title().replace("K", "k") + "B", unit) for unit in units
    )
    return ", ".join(f"`{name.replace('kiB', 'KiB')}`" for name in names)


def _more(name: str, before: str) -> str:
    if name not in MORE:
        return ""
    file, _, anchor = MORE[name].partition("#")
    for heading in re.findall(r"^#+ (.+)$", (FOLDER / file).read_text(), re.MULTILINE):
        if _anchor(heading) == anchor:
            return f"{before}More: [{heading}]({MORE[name]})."
    raise AssertionError(f"{MORE[name]} leads nowhere")


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# ---- verbs


def verbs() -> Iterator[str]:
    yield "# Verbs and their options"
    yield (
        "`rekindle help VERB` and `man rekindle` say the same. Each verb takes "
        "`--home DIR` ([which home a verb uses](../operations.md#which-home-a-verb-uses)), and "
        "each ends with one of the [exit codes](exit-codes.md)."
    )
    grouped = {verb for names in cli.GROUPS.values() for verb in names}
    groups = {**cli.GROUPS, "Other": tuple(verb for verb in cli.VERBS if verb not in grouped)}
    for title, names in groups.items():
        yield f"## {title}"
        yield "| verb | does |\n|---|---|\n" + "\n".join(
            f"| [`{name}`](#rekindle-{name}) | {_cell(cli.VERBS[name])} |" for name in names
        )
        for name in names:
            yield from _verb(name)


def _verb(name: str) -> Iterator[str]:
    parser = cli.verb_parser(name)
    yield f"### `rekindle {name}`"
    yield (parser.description or "").strip()
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    usage = usage.replace(" [-h]", "").replace(" [--home DIR]", "")
    yield f"```text\n{usage}\n```"
    rows = []
    keys = []
    for group in parser._action_groups:
        for action in group._group_actions:
            if action.dest.removeprefix("key_") in options.KEYS:
                keys.append(action.dest.removeprefix("key_"))
            elif action.dest not in ("help", "home") and action.help != argparse.SUPPRESS:
                rows.append(f"| {_named(action)} | {_cell(_help(parser, action))} |")
    if rows:
        yield "| argument | means |\n|---|---|\n" + "\n".join(rows)
    if keys:
        linked = [
            f"[`{key.option}`](spec-keys.md#{_anchor(key.dotted)})"
            for key in map(options.KEYS.__getitem__, keys)
        ]
        yield f"The keys of a spec as options: {', '.join(linked)}."
    if "--json" in parser.options():
        yield f"`--json`: [its fields](../json.md#{_json_anchor(name)})."


def _named(action: argparse.Action) -> str:
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    value = value if isinstance(value, str) else " ".join(value)
    if not action.option_strings:
        return f"`{value if action.metavar else action.dest}`"
    takes = action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction)
    if takes and action.choices is not None and action.metavar is None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    return _cell(
        ", ".join(f"`{one} {value}`" if takes else f"`{one}`" for one in action.option_strings)
    )


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return parser._get_formatter()._expand_help(action) if action.help else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _json_anchor(verb: str) -> str:
    """Find the heading of docs/json.md that is about a verb."""
    page = (ROOT / "docs" / "json.md").read_text()
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        acting = heading == "The acting verbs" and f"`{verb}`" in body.partition(" print")[0]
        if acting or re.search(rf"`rekindle {verb}\b(?!-)", heading):
            return _anchor(heading)
    raise AssertionError(f"docs/json.md does not say what `rekindle {verb} --json` prints")


# ---- variables, exit codes, files


def variables() -> Iterator[str]:
    documented = _documented(Path(environment.__file__))
    yield "# Environment variables"
    yield "## For daemon and verbs"
    service = documented["RUNTIME_DIRECTORY"].removeprefix("For verbs: ")
    people = FOR_PEOPLE | {environment.RUNTIME_DIRECTORY: service}
    yield _rows("variable", "means", people)
    yield "## Of a job's process"
    yield (
        "They are set for each attempt; `[env]` of a spec cannot change them. For a `command` they "
        "are the whole contract: [Commands](../spec.md#commands)."
    )
    of_a_job = {
        value: documented[name]
        for name, value in vars(environment).items()
        if isinstance(value, str) and value in environment.OF_A_JOB and name in documented
    }
    yield _rows("variable", "holds", of_a_job)
    yield "## Between processes of rekindle"
    yield "Not for you to set; a job does not inherit them."
    known = {*people, *of_a_job}
    yield _rows(
        "variable",
        "holds",
        {
            value: documented[name]
            for name, value in vars(environment).items()
            if isinstance(value, str) and value.startswith("REKINDLE_") and value not in known
        },
    )
    yield (
        "`REKINDLE_SNAPSHOT` is set in a [shell as in a job]"
        "(../operations.md#a-shell-as-in-a-job): the folder of the snapshot of its code."
    )


def _documented(file: Path) -> dict[str, str]:
    """Read the texts that follow the constants of a module."""
    body = ast.parse(file.read_text()).body
    return {
        constant.target.id: " ".join(str(text.value.value).split())
        for constant, text in itertools.pairwise(body)
        if isinstance(constant, ast.AnnAssign)
        and isinstance(constant.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def _rows(first: str, second: str, rows: dict[str, str]) -> str:
    return f"| {first} | {second} |\n|---|---|\n" + "\n".join(
        f"| `{name}` | {_cell(text)} |" for name, text in rows.items()
    )


def exit_codes() -> Iterator[str]:
    yield "# Exit codes"
    yield "## Of a verb"
    yield (
        "Those of the daemon (`rekindle run`) are the same; its service is "
        "started again after all but 2 and 4, which need a person."
    )
    assert {error.exit_code for error in _errors()} <= set(CODES)
    yield "| code | means |\n|---|---|\n" + "\n".join(
        f"| {code} | {text} |" for code, text in CODES.items()
    )
    yield "## Of a script or command"
    documented = _documented(Path(environment.__file__))
    ours = {
        environment.EXIT_DONE: "Done.",
        environment.EXIT_SAVED: documented["EXIT_SAVED"],
        environment.EXIT_PERMANENT: documented["EXIT_PERMANENT"],
    }
    yield "| code | means |\n|---|---|\n" + "\n".join(
        [f"| {code} | {text} |" for code, text in ours.items()]
        + ["| any other, or a signal | A crash: retried, as far as `[retry]` allows. |"]
    )
    yield "[How a script ends](../spec.md#how-a-script-ends) says what happens to the job."


def _errors() -> list[type[errors.RekindleError]]:
    return [
        error
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.RekindleError)
    ]


def files() -> Iterator[str]:
    yield "# Files on disk"
    yield (
        "The run directories are the truth; the ledger is what the daemon knows of them "
        "([Architecture](../architecture.md#home-and-run-directory)). The journal rotates by "
        "itself and logs have a limit: there is no logrotate."
    )
    home = Home(Path("HOME"))
    yield "## A home"
    yield _files(Home, home)
    yield "## A run directory"
    yield _files(Run, home.run("JOB"))
    yield "## Outside of a home"
    yield (
        "| file | content | if it is lost |\n|---|---|---|\n"
        "| `/etc/systemd/system/rekindle.service`, `.d/*.conf` | the unit, and changes of this "
        "host | `rekindle install` writes the unit again |\n"
        "| `/etc/sysusers.d/rekindle.conf`, `/etc/tmpfiles.d/rekindle.conf`, "
        "`/usr/local/bin/rekindle` | accounts, permissions of the home, a link | the same |\n"
        "| `/run/rekindle/daemon.json` | which home the service serves, for the verbs of all users "
        "| `systemctl restart rekindle` |"
    )


def _files(kind: type, one: Any) -> str:
    rows = []
    for name, member in vars(kind).items():
        path = None
        if isinstance(member, property):
            path = getattr(one, name)
        elif name in ("log", "log_times"):
            path = Path(re.sub("0001", "NNNN", os.fspath(getattr(one, name)(1))))
        elif name == "spec_copy":
            path = one.spec_copy(".toml")
        if not isinstance(path, Path):
            continue
        doc = (member.fget if isinstance(member, property) else member).__doc__ or ""
        text = re.sub(r"^Return the path of ", "", " ".join(doc.split("\n\n")[0].split()))
        text = text.partition("; ``suffix``")[0]
        text = re.sub(r"`+", "`", text[:1].upper() + text[1:]).rstrip(".")
        slash = "/" * (text.startswith("Folder") or name in ("kept_files", "warm_start"))
        rows.append(f"| `{path}{slash}` | {_cell(text)} | {_cell(LOST[name])} |")
    return "| file | content | if it is lost |\n|---|---|---|\n" + "\n".join(rows)


def main() -> None:
    """Write the pages, and remove those that there are no more."""
    made = texts()
    for old in FOLDER.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        temporary = FOLDER / f".{name}.tmp"
        temporary.write_text(text)
        os.replace(temporary, FOLDER / name)


if __name__ == "__main__":
    main()
