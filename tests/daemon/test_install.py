"""The steps of `install` and `uninstall`; tests/systemd runs them under a real systemd."""

import os
import sys
from pathlib import Path

import pytest

from rekindle.daemon.install import install
from rekindle.daemon.install.install import Ended, InstallFailed, Link, Remove, Run, Write


class Host:
    """A host with units, a command for all users, and environments to install from."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.command = root / "bin" / "rekindle"
        self.command.parent.mkdir()
        self.units = root / "units"
        self.units.mkdir()

    def environment(self, name: str) -> str:
        """Make an environment's interpreter, with our command beside it."""
        folder = self.root / name / "bin"
        folder.mkdir(parents=True)
        (folder / "rekindle").write_text(name)
        (folder / "python").symlink_to(sys.executable)
        return str(folder / "python")

    def install(self, python: str) -> list[str]:
        """Carry out the file steps only, since there is no systemd; return the output."""
        said: list[str] = []
        install.carry_out(
            [step for step in install.system(python) if isinstance(step, Write | Link)], said.append
        )
        return said

    def removed(self, python: str) -> list[Path]:
        return [step.path for step in install.removal(python, None) if isinstance(step, Remove)]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setattr(install, "_COMMAND", made.command)
    monkeypatch.setattr(install, "_UNITS", made.units)
    monkeypatch.setattr(install, "_SYSUSERS", tmp_path / "sysusers.conf")
    monkeypatch.setattr(install, "_TMPFILES", tmp_path / "tmpfiles.conf")
    return made


def test_a_new_environment_gets_the_link_of_the_old_one(host: Host) -> None:
    """The service runs the new one, so the command of all users must as well."""
    old, new = host.environment('o"l d%'), host.environment("new")
    host.install(old)
    assert host.command.read_text() == 'o"l d%'
    said = host.install(new)
    assert host.command.read_text() == "new"
    assert f"link {host.command} -> {Path(new).with_name('rekindle')}" in said
    assert f"{host.command} is up to date" in host.install(new)
    assert [path.name for path in host.command.parent.iterdir()] == ["rekindle"]


def test_a_link_to_a_removed_environment_is_replaced(host: Host) -> None:
    """A dangling link is of no use, whoever made it."""
    host.command.symlink_to(host.root / "gone" / "bin" / "rekindle")
    host.install(host.environment("new"))
    assert host.command.read_text() == "new"


@pytest.mark.parametrize("kind", ["link", "pipx", "file"])
def test_a_command_of_another_installation_stays_and_is_reported(host: Host, kind: str) -> None:
    """The command then runs another `rekindle` than the service: the user must see that."""
    theirs = host.root / ("pipx" if kind == "pipx" else "theirs") / "bin" / "rekindle"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    if kind == "file":
        host.command.write_text("theirs")
    else:
        host.command.symlink_to(theirs)
    python = host.environment("new")
    for _ in range(2):
        said = next(line for line in host.install(python) if str(host.command) in line)
        assert "is not changed" in said
        assert str(theirs if kind != "file" else "is a file") in said
        assert host.command.read_text() == "theirs"
    assert host.command not in host.removed(python)
    # the link of pipx is removed by pipx, also if its own command runs uninstall
    if kind == "pipx":
        assert host.command not in host.removed(str(theirs.with_name("python")))


def test_uninstall_removes_the_link_that_install_made(host: Host) -> None:
    """A link to this interpreter's command, or to the one of the unit."""
    python, another = host.environment("new"), host.environment("another")
    host.install(python)
    assert host.command in host.removed(python)
    assert host.command in host.removed(another)
    (host.units / install.SERVICE).unlink()
    assert host.command not in host.removed(another)
    assert host.command in host.removed(python)


def test_a_step_above_its_time_limit_is_a_failed_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real command above the limit; a step that systemd limits has none."""
    monkeypatch.setattr(install, "_COMMAND_S", 0.3)
    with pytest.raises(InstallFailed, match="sleep 60: it did not end within") as failed:
        install.carry_out([Run(("sleep", "60"))], lambda line: None)
    assert failed.value.exit_code == 1
    said: list[str] = []
    install.carry_out([Run(("sleep", "1"), waits="until it has slept")], said.append)
    assert said == ["run sleep 1, which waits until it has slept"]


def test_nothing_is_removed_before_the_service_has_ended(tmp_path: Path) -> None:
    """By the order of the steps; a missing answer of systemd is not a yes."""
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


def test_the_command_for_root_is_found_by_sudo(tmp_path: Path) -> None:
    """sudo has a path of its own, which no virtual environment is on."""
    python = tmp_path / "an env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    assert install.command(str(python)) == f"'{python}' -m rekindle.daemon"
    python.with_name("rekindle").touch()
    assert install.command(str(python)) == f"'{python.with_name('rekindle')}'"


def test_units_have_a_folder_for_the_record_of_the_service() -> None:
    """Kept over a restart: a verb in that moment must still find the home."""
    for steps, name in (
        (install.system(sys.executable), "/etc/systemd/system/rekindle.service"),
        (install.user(sys.executable, Path("/home/ana")), "rekindle.service"),
    ):
        (text,) = (s.text for s in steps if isinstance(s, Write) and str(s.path).endswith(name))
        assert "\nRuntimeDirectory=rekindle\n" in text
        assert "\nRuntimeDirectoryPreserve=restart\n" in text
