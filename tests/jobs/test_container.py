"""Which commands run a container, and what is done where the engine does not answer."""

from pathlib import Path

import pytest

from rekindle.jobs.keeper import container
from rekindle.state.paths import Run

OURS = "--cidfile=/runs/a-1/container-id"


def recognized(*argv: str) -> container.Client | None:
    return container.client([*argv], Run(Path("/runs/a-1")), {}, "/work")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("docker run image", f"docker run {OURS} image"),
        ("/usr/bin/docker run --rm image -d", f"/usr/bin/docker run {OURS} --rm image -d"),
        ("docker container run image", f"docker container run {OURS} image"),
        ("docker -H ssh://run run image", f"docker -H ssh://run run {OURS} image"),
        ("docker --context=gpu run image", f"docker --context=gpu run {OURS} image"),
        ("podman --log-level debug run image", f"podman --log-level debug run {OURS} image"),
        ("docker run --cidfile it image", "docker run --cidfile it image"),
        ("docker run --cidfile=/x/it image", "docker run --cidfile=/x/it image"),
        ("docker run image tool --cidfile=/x", f"docker run {OURS} image tool --cidfile=/x"),
        (
            "docker run -it --rm --gpus all -v/a:/b -e X=1 image --cidfile /x",
            f"docker run {OURS} -it --rm --gpus all -v/a:/b -e X=1 image --cidfile /x",
        ),
        ("docker run -it --gpus all --cidfile=/x/it image",) * 2,
    ],
)
def test_a_client_gets_a_file_for_the_id(argv: str, expected: str) -> None:
    """Once, right behind `run`; the engine's own options stay before it."""
    found = recognized(*argv.split())
    assert found is not None
    assert " ".join(found.argv) == expected
    assert found.added == (OURS in expected)
    words = argv.split()
    assert (
        found.engine
        == words[: words.index("run", 2 if "ssh://run" in argv else 0)][
            : -1 if words[1] == "container" else None
        ]
    )
    named = {"docker run --cidfile it image": "/work/it"}.get(argv, "/x/it")
    assert found.added or str(found.cidfile) == named


@pytest.mark.parametrize(
    "argv",
    ["python train.py", "docker", "docker compose run it", "docker exec it run", "sh run", "run"],
)
def test_another_command_is_left_alone(argv: str) -> None:
    assert recognized(*argv.split()) is None


def test_other_commands_of_an_engine_are_named() -> None:
    """Their containers cannot be ended, which a warning says."""
    assert container.unseen(["docker", "compose", "up"]) == "docker compose"
    assert container.unseen(["/usr/bin/podman", "start", "-a", "it"]) == "podman start"
    assert container.unseen(["docker", "run", "it"]) is None
    assert container.unseen(["python", "docker"]) is None
    assert container.unseen(["docker"]) is None


@pytest.mark.parametrize("says", ["echo true", "echo Cannot connect >&2; exit 1", "sleep 60"])
def test_a_container_that_cannot_be_ended_is_an_error_within_its_time(
    tmp_path: Path, says: str
) -> None:
    """It runs on, the engine is down, or it does not answer: no second one may start."""
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\n{says}\n")
    docker.chmod(0o755)
    file = tmp_path / "id"
    file.write_text("abc\n")
    client = container.client(
        [str(docker), "run", "--cidfile", str(file), "image"],
        Run(tmp_path),
        {"PATH": "/bin:/usr/bin"},
        str(tmp_path),
    )
    assert client is not None
    with pytest.raises(container.ContainerNotEnded, match="may still run") as failed:
        client.end(0.2)
    assert "kill abc" in failed.value.hint
    assert file.exists()


def test_what_never_started_is_no_container(tmp_path: Path) -> None:
    """An empty file: the client was killed before it had an id, and so before the start."""
    (tmp_path / "container-id").touch()
    found = container.client(["docker", "run", "image"], Run(tmp_path), {}, str(tmp_path))
    assert found is not None
    assert found.end(0.2) is False
    assert not found.cidfile.exists()
    assert found.end(0.2) is False


def test_a_file_that_holds_no_id_is_left_alone(tmp_path: Path) -> None:
    """Whatever stands in place of the client's own file may be of somebody else."""
    mine = tmp_path / "notes"
    mine.write_text("my results\n")
    found = container.client(
        ["docker", "run", f"--cidfile={mine}", "image"], Run(tmp_path), {}, str(tmp_path)
    )
    assert found is not None
    assert found.end(0.2) is False
    assert mine.read_text() == "my results\n"
