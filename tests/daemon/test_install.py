"""The steps of `install` and `uninstall`; tests/systemd carries them out under a real systemd."""

import os
import sys
from pathlib import Path

import pytest

from rekindle.daemon.install import install
from rekindle.daemon.install.install import Ended, InstallFailed, Link, Remove, Run, Write


class Box:
    """Where a box has units, a command for all, and environments to install from."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.command = root / "bin" / "rekindle"
        self.command.parent.mkdir()
        self.units = root / "units"
        self.units.mkdir()

    def environment(self, name: str) -> str:
        """An environment's interpreter, with our command beside it."""
        folder = self.root / name / "bin"
        folder.mkdir(parents=True)
        (folder / "rekindle").write_text(name)
        (folder / "python").symlink_to(sys.executable)
        return str(folder / "python")

    def install(self, python: str) -> list[str]:
        """The files of an installation alone, since there is no systemd; what was said."""
        said: list[str] = []
        install.carry_out(
            [step for step in install.system(python) if isinstance(step, Write | Link)], said.append
        )
        return said

    def removed(self, python: str) -> list[Path]:
        return [step.path for step in install.removal(python, None) if isinstance(step, Remove)]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    made = Box(tmp_path)
    monkeypatch.setattr(install, "_COMMAND", made.command)
    monkeypatch.setattr(install, "_UNITS", made.units)
    monkeypatch.setattr(install, "_SYSUSERS", tmp_path / "sysusers.conf")
    monkeypatch.setattr(install, "_TMPFILES", tmp_path / "tmpfiles.conf")
    return made


def test_a_new_environment_takes_the_command_along(box: Box) -> None:
    """The service is of the new one, so that everybody's command must be too."""
    old, new = box.environment('o"l d%'), box.environment("new")
    box.install(old)
    assert box.command.read_text() == 'o"l d%'
    said = box.install(new)
    assert box.command.read_text() == "new"
    assert f"link {box.command} -> {Path(new).with_name('rekindle')}" in said
    assert f"{box.command} is up to date" in box.install(new)
    assert [path.name for path in box.command.parent.iterdir()] == ["rekindle"]


def test_a_link_to_an_environment_that_is_gone_is_replaced(box: Box) -> None:
    """It serves nobody, whoever made it."""
    box.command.symlink_to(box.root / "gone" / "bin" / "rekindle")
    box.install(box.environment("new"))
    assert box.command.read_text() == "new"


@pytest.mark.parametrize("kind", ["link", "pipx", "file"])
def test_a_command_of_somebody_else_stays_and_is_told(box: Box, kind: str) -> None:
    """At the installation it would be another `rekindle` than the service's; said, not hidden."""
    theirs = box.root / ("pipx" if kind == "pipx" else "theirs") / "bin" / "rekindle"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    if kind == "file":
        box.command.write_text("theirs")
    else:
        box.command.symlink_to(theirs)
    python = box.environment("new")
    for _ in range(2):
        said = next(line for line in box.install(python) if str(box.command) in line)
        assert "is not changed" in said
        assert str(theirs if kind != "file" else "is a file") in said
        assert box.command.read_text() == "theirs"
    assert box.command not in box.removed(python)
    # pipx's own command is called, and it is pipx that made the link and takes it away
    if kind == "pipx":
        assert box.command not in box.removed(str(theirs.with_name("python")))


def test_uninstall_takes_the_link_that_install_made(box: Box) -> None:
    """By this interpreter's command, or by the one that the unit starts."""
    python, another = box.environment("new"), box.environment("another")
    box.install(python)
    assert box.command in box.removed(python)
    assert box.command in box.removed(another)
    (box.units / install.SERVICE).unlink()
    assert box.command not in box.removed(another)
    assert box.command in box.removed(python)


def test_a_step_that_never_ends_is_a_failed_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real command that is longer than the limit; what systemd limits itself has none."""
    monkeypatch.setattr(install, "_COMMAND_S", 0.3)
    with pytest.raises(InstallFailed, match="sleep 60: it did not end within") as failed:
        install.carry_out([Run(("sleep", "60"))], lambda line: None)
    assert failed.value.exit_code == 1
    said: list[str] = []
    install.carry_out([Run(("sleep", "1"), waits="until it has slept")], said.append)
    assert said == ["run sleep 1, which waits until it has slept"]


def test_nothing_is_removed_before_the_service_has_ended(tmp_path: Path) -> None:
    """In the order of the steps; and where no systemd answers, that is no yes."""
    steps = install.removal(sys.executable, tmp_path)
    ended = next(n for n, step in enumerate(steps) if isinstance(step, Ended))
    assert [step.argv[2] for step in steps[:ended] if isinstance(step, Run)] == ["stop"]
    assert not any(isinstance(step, Remove) for step in steps[:ended])
    for argv in (("echo", "active"), ("echo", "deactivating"), ("false",)):
        with pytest.raises(InstallFailed, match="nothing was removed"):
            install.carry_out([Ended(argv)], lambda line: None)
    # `sh -c "echo inactive; exit 3" is-active rekindle.service`, as systemctl answers
    install.carry_out([Ended(("sh", "-c", "echo inactive; exit 3"))], lambda line: None)
    assert os.listdir(tmp_path) == []
