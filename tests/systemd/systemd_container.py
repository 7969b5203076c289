"""Run a real systemd as PID 1 in a temporary container, over an overlay of the host's ``/``.

Everything installed on the host (interpreter, virtual environment, checkout) exists at the same
path, and nothing written in the container reaches the host. ``/tmp``, ``/run`` and ``/dev`` of
the container are its own. Needs root, ``systemd-nspawn`` and overlayfs; no network.

- Commands enter by ``nsenter``: ``systemd-run --machine`` needs services of the host.
- nspawn leaves the controllers of cgroup v1 read-only, where a memory limit would be ignored
  silently: PID 1 makes them writable first.
- PID 1 of a container outlives a killed nspawn: teardown kills by the container's cgroups, and
  `sweep` ends containers of a killed test run.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# units that no test needs; each costs time at boot or fails in a container
_MASKED = """
apt-daily.timer apt-daily-upgrade.timer man-db.timer fstrim.timer e2scrub_all.timer
e2scrub_reap.service dpkg-db-backup.timer logrotate.timer systemd-timesyncd.service
systemd-networkd.service systemd-resolved.service systemd-firstboot.service
systemd-pstore.service getty.target console-getty.service postgresql.service slurmctld.service
slurmd.service munge.service docker.service containerd.service
""".split()

_INIT = """#!/bin/sh
for d in /sys/fs/cgroup/*; do mount -o remount,bind,rw "$d" 2>/dev/null; done
exec /lib/systemd/systemd --log-target=journal
"""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ContainerError(RuntimeError):
    """The container did not do what a test asked for."""


def unavailable() -> str | None:
    """Explain why containers cannot be used here; None if they can."""
    if os.geteuid() != 0:
        return "booting a systemd needs root"
    if not shutil.which("systemd-nspawn"):
        return "booting a systemd needs systemd-nspawn (Debian: systemd-container)"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "booting a systemd needs overlayfs"
    return None


def sweep() -> None:
    """End and remove containers whose owner was killed."""
    for owner in Path(tempfile.gettempdir()).glob("rekindle-container-*/owner"):
        pid, ticks = owner.read_text().split()
        if _ticks(int(pid)) != ticks:
            container = object.__new__(Container)
            container._take(owner.parent)
            container._kill_all()
            container.close()


class Container:
    """One container; its disk lasts until :meth:`close`, over any number of boots.

    Args:
        shown: folders of the host by the path at which the container sees them, read-only.
    """

    def __init__(self, shown: dict[str, Path] | None = None) -> None:
        sweep()
        self._shown = shown or {}
        self._take(Path(tempfile.mkdtemp(prefix="rekindle-container-")))
        for name in ("up", "work", "root"):
            (self.dir / name).mkdir()
        (self.dir / "owner").write_text(f"{os.getpid()} {_ticks(os.getpid())}")
        subprocess.run(
            [
                "mount",
                "-t",
                "overlay",
                "overlay",
                "-o",
                f"lowerdir=/,upperdir={self.dir}/up,workdir={self.dir}/work",
                str(self.root),
            ],
            check=True,
        )
        try:
            for unit in _MASKED:
                self.path(f"/etc/systemd/system/{unit}").unlink(missing_ok=True)
                self.path(f"/etc/systemd/system/{unit}").symlink_to("/dev/null")
            self.put("/usr/local/sbin/container-init", _INIT, 0o755)
            self.put("/etc/machine-id", os.urandom(16).hex() + "\n")
            self.put(
                "/etc/systemd/journald.conf.d/container.conf",
                "[Journal]\nStorage=persistent\nRateLimitBurst=0\n",
            )
            self.boot()
        except BaseException:
            self.close()
            raise

    def _take(self, folder: Path) -> None:
        self.dir = folder
        self.root = folder / "root"
        self.name = folder.name.replace("_", "").lower()
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader: int | None = None

    # files

    def path(self, inside: str) -> Path:
        """Return the host's path of a path in the container (not below /tmp, /run and /dev)."""
        return self.root / inside.lstrip("/")

    def put(self, inside: str, text: str, mode: int = 0o644) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    # life

    def boot(self, seconds: float = 120) -> None:
        assert self._nspawn is None
        entries = []
        for folder, cpuset in self._cgroups():
            try:
                folder.mkdir(exist_ok=True)
                if cpuset:  # cpuset of v1 takes no process before these are set
                    for name in ("cpuset.cpus", "cpuset.mems"):
                        (folder / name).write_text((folder.parent / name).read_text())
                entries.append(folder / "cgroup.procs")
            except OSError:
                continue  # no permission in this hierarchy of the host

        def enter() -> None:
            for entry in entries:
                entry.write_text("0")

        with (self.dir / "console.log").open("ab") as log:
            self._nspawn = subprocess.Popen(
                [
                    "systemd-nspawn",
                    "--quiet",
                    f"--directory={self.root}",
                    f"--machine={self.name}",
                    "--register=no",
                    "--keep-unit",
                    "--private-network",
                    "--resolv-conf=off",
                    "--timezone=off",
                    "--link-journal=no",
                    "--console=pipe",
                    "--kill-signal=SIGRTMIN+3",
                    *[f"--bind-ro={here}:{there}" for there, here in self._shown.items()],
                    "/usr/local/sbin/container-init",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=enter,
                start_new_session=True,
            )

        def up() -> bool:
            assert self._nspawn is not None
            if self._nspawn.poll() is not None:
                raise ContainerError(f"nspawn ended: {self.console()}")
            self._leader = self._leader or self._find_leader()
            return self._leader is not None and self.run(
                "systemctl", "is-system-running", check=False
            ).stdout.strip() in ("running", "degraded")

        self.wait(up, "the container is up", seconds)

    def poweroff(self, seconds: float = 180) -> None:
        """Shut down in order: every unit gets its stop signal."""
        self.run("systemctl", "poweroff", "--no-block", check=False)
        if not self._ended(seconds):
            raise ContainerError(f"still up {seconds} s after poweroff: {self.console()}")

    def power_cut(self) -> None:
        """Kill all processes at once; no unit gets a stop signal."""
        if self._leader is not None:
            os.kill(self._leader, signal.SIGKILL)
        if not self._ended(10):
            self._kill_all()
            self._ended(10)

    def close(self) -> None:
        if self._nspawn is not None:
            self.power_cut()
        for _ in range(50):
            if not os.path.ismount(self.root):
                shutil.rmtree(self.dir, ignore_errors=True)
                return
            if subprocess.run(["umount", str(self.root)], stderr=subprocess.DEVNULL).returncode:
                time.sleep(0.1)
        subprocess.run(["umount", "-l", str(self.root)])

    # use

    def run(
        self, *argv: str, check: bool = True, seconds: float = 180, text: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in the container, outside of its units."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._leader), "-a", "--", *argv],
            text=True,
            capture_output=True,
            timeout=seconds,
            input=text,
            env={
                "PATH": _PATH,
                "LANG": "C.UTF-8",
                "HOME": "/root",
                "SYSTEMD_PAGER": "",
                "SYSTEMD_COLORS": "0",
            },
        )
        if check and done.returncode:
            raise ContainerError(f"{argv}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", unit, "-p", name, "--value").stdout.strip()

    def journal(self, *args: str) -> str:
        return self.run("journalctl", "--no-pager", *args, check=False).stdout

    def console(self) -> str:
        path = self.dir / "console.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def wait(self, probe: Callable[[], Any], what: str, seconds: float = 240) -> Any:
        """Poll until ``probe`` returns a true value."""
        end = time.monotonic() + seconds
        while True:
            value = probe()
            if value:
                return value
            if time.monotonic() > end:
                raise ContainerError(f"timeout after {seconds:.0f} s: {what}")
            time.sleep(0.1)

    # what belongs to it

    def _find_leader(self) -> int | None:
        """Find the container's PID 1, once it is systemd."""
        assert self._nspawn is not None
        try:
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
            for pid in children.read_text().split():
                status = Path(f"/proc/{pid}/status").read_text().splitlines()
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                spaces = next(line for line in status if line.startswith("NSpid:")).split()
                if spaces[-1] == "1" and len(spaces) > 2 and name == "systemd":
                    return int(pid)
        except OSError:
            pass
        return None

    def _ended(self, seconds: float) -> bool:
        assert self._nspawn is not None
        try:
            self._nspawn.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._nspawn = self._leader = None
        self._remove_cgroups()
        return True

    def _cgroups(self) -> list[tuple[Path, bool]]:
        """List the container's folder in every hierarchy, with True for the cpuset of v1."""
        own = {}
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            own[names] = path.lstrip("/")
        found = []
        for line in Path("/proc/mounts").read_text().splitlines():
            _, where, kind, text, *_ = line.split()
            options = set(text.split(","))
            if kind == "cgroup2":
                found.append((Path(where) / own.get("", "") / self.name, False))
            elif kind == "cgroup":
                found += [
                    (Path(where) / path / self.name, "cpuset" in options)
                    for names, path in own.items()
                    if names and set(names.split(",")) <= options
                ]
        return found

    def _kill_all(self) -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            pids = set()
            for folder, _ in self._cgroups():
                for sub, _, _ in os.walk(folder):
                    try:
                        pids |= set(Path(sub, "cgroup.procs").read_text().split())
                    except OSError:
                        continue
            if not pids:
                break
            for pid in pids:
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)
        self._remove_cgroups()

    def _remove_cgroups(self) -> None:
        for folder, _ in self._cgroups():
            for _ in range(50):
                for sub, _, _ in os.walk(folder, topdown=False):
                    try:
                        os.rmdir(sub)
                    except OSError:
                        pass
                if not folder.exists():
                    break
                time.sleep(0.05)


def _ticks(pid: int) -> str:
    """Read the start time of a process, to distinguish it from a later one of the same pid."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
