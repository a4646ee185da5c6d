"""Machines made of Linux namespaces, for tests of a cluster: root, iproute2, util-linux, openssh-server and rsync.

A host has its own network, PID, mount, UTS and IPC namespace, its own home, /tmp, /run, /dev/shm and /etc/hosts, and an
sshd. All hang on one bridge in a network namespace of its own, from which nothing reaches the machine's network.
/mnt/study is one folder on all of them, unless a host is booted without. Python packages are the machine's; the
project's own is what `ray up` brings.

Everything ends with the process that made it: the first process of a host dies with its parent.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

PROGRAMS = ("unshare", "nsenter", "setpriv", "ip", "ssh", "ssh-keygen", "/usr/sbin/sshd", "rsync", "git")
_NETWORK = "10.77.0."
_FIRST = Path(__file__).with_name("host.sh")
_BASE = Path(sys.base_prefix).resolve()
_OWN = ("/root", "/tmp", "/run", "/dev/shm")
_CLEAN = ("HOME=/root", "USER=root", "TERM=dumb", "LANG=C.UTF-8",
          "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")  # fmt: skip
_SSHD = """Port 22
HostKey /run/host_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile /run/sshd.pid
"""
_PIP = """[install]
no-index = true
no-deps = true
no-build-isolation = no
"""
"""Packages are there already; "no" is pip's word for "without isolation"."""


class Hosts:
    """All hosts of one bridge; a context manager that ends them.

    Args:
        folder: gets their disks and the shared folder.
        names: of the hosts, in the order of their addresses.
        off: those of them that are not started at once.
        own_name: the address that a host's own name has on it; None means that on the bridge.
    """

    def __init__(
        self, folder: Path, names: Iterable[str], off: Iterable[str] = (), own_name: str | None = None
    ) -> None:
        self.folder = folder.resolve()
        self.address = {name: f"{_NETWORK}{10 + number}" for number, name in enumerate(names)}
        self.shared = self.folder / "shared"
        self._off, self._own_name = tuple(off), own_name
        self._first: dict[str, subprocess.Popen[bytes]] = {}
        self._pids: dict[str, int] = {}

    def __enter__(self) -> Hosts:
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if os.geteuid() != 0 or missing:
            raise RuntimeError(f"hosts need root, and these programs, which are missing: {missing}")
        self.shared.mkdir(parents=True)
        for key in ("key", "host_key"):
            _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key)
        try:
            self._start("switch", ["sleep", "infinity"], ["--net"])
            self._on_switch("ip", "link", "add", "bridge0", "type", "bridge")
            self._on_switch("ip", "link", "set", "bridge0", "up")
            for name in self.address:
                if name not in self._off:
                    self.boot(name)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for name in reversed(list(self._first)):  # the switch at last
            self.power_off(name)

    def boot(self, name: str, shares: bool = True) -> None:
        """Start a host on its disk, which is made at the first time, and plug it in.

        Args:
            name: of the host.
            shares: whether it sees the shared folder; else its /mnt/study is its own, and empty.
        """
        disk = self.folder / name
        if not disk.exists():
            self._make_disk(name, disk)
        ready = disk / "root/.ready"
        ready.unlink(missing_ok=True)
        first = ["bash", str(_FIRST), name, str(disk), str(self.shared if shares else ""), str(_BASE)]
        self._start(name, first, ["--net", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child"])
        pid = str(self._pids[name])
        number = int(self.address[name].rpartition(".")[2])
        card = (
            "address",
            f"02:00:00:00:00:{number:02x}",
        )  # the same after a reboot: its neighbours remember it
        self._on_switch(
            "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", *card, "netns", pid
        )
        self._on_switch("ip", "link", "set", name, "master", "bridge0", "up")
        for words in ("link set lo up", f"addr add {self.address[name]}/24 dev eth0", "link set eth0 up"):
            _do("nsenter", "-t", pid, "-n", "ip", *words.split())
        _until(ready.exists, f"host {name} does not start; see {self.folder / name}.log")

    def _make_disk(self, name: str, disk: Path) -> None:
        """What a reboot leaves: home with a key and a Python environment, /tmp, the table of hosts."""
        home = disk / "root"
        for part in ("root/.ssh", "root/.config/pip", "tmp"):
            (disk / part).mkdir(parents=True)
        for private in (home, home / ".ssh"):
            private.chmod(0o700)
        for file in (".bashrc", ".profile"):
            shutil.copy(Path("/etc/skel", file), home / file)
        shutil.copy(self.folder / "key", home / ".ssh/id_ed25519")
        shutil.copy(self.folder / "key.pub", home / ".ssh/authorized_keys")
        shutil.copy(self.folder / "host_key", disk / "host_key")
        (disk / "sshd_config").write_text(_SSHD)
        (home / ".config/pip/pip.conf").write_text(_PIP)
        table = {"localhost": "127.0.0.1", **self.address, name: self._own_name or self.address[name]}
        (disk / "hosts").write_text("".join(f"{address} {host}\n" for host, address in table.items()))
        _make_environment(home / "sdl-env")

    def power_off(self, name: str) -> None:
        """Everything on a host ends at once."""
        first, pid = self._first.pop(name), self._pids.pop(name, 0)
        if (
            first.poll() is None and pid
        ):  # process 1 of the host; its parent returns once all others have ended with it
            os.kill(pid, signal.SIGKILL)
        try:
            first.wait(20.0 if pid else 0.0)
        except subprocess.TimeoutExpired:
            first.kill()
            first.wait()
        if name != "switch":  # else the name is taken until the kernel comes to it
            self._on_switch("ip", "link", "delete", name, missing_ok=True)

    def is_on(self, name: str) -> bool:
        """Whether a host runs."""
        return name in self._first

    def unplug(self, name: str) -> None:
        """Pull a host's cable, at the switch: its own interface stays up, and nothing tells the others."""
        self._on_switch("ip", "link", "set", name, "down")

    def plug(self, name: str) -> None:
        """Plug it in again."""
        self._on_switch("ip", "link", "set", name, "up")

    def command(self, name: str, line: str) -> list[str]:
        """The words that run a line of shell on a host, as if typed at its console."""
        inside = ("--net", "--pid", "--mount", "--uts", "--ipc", "--wdns=/root")
        return ["nsenter", "-t", str(self._pids[name]), *inside, "env", "-i", *_CLEAN, "bash", "-c", line]

    def run(self, name: str, line: str, seconds: float = 120.0) -> str:
        """What a line of shell prints on a host, both streams.

        Raises:
            AssertionError: it fails, with what it printed.
        """
        done = subprocess.run(
            self.command(name, line), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=seconds, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{name}: {line}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def _start(self, name: str, command: list[str], spaces: list[str]) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            first = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", *spaces, *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._first[name] = first
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children")

        def found() -> bool:
            forked = children.read_text().split() if "--fork" in spaces else [str(first.pid)]
            self._pids[name] = int(forked[0]) if forked else 0
            return bool(forked) and _other_network(int(forked[0]))

        _until(found, f"{name} does not start; see {self.folder / name}.log")

    def _on_switch(self, *words: str, missing_ok: bool = False) -> None:
        command = ["nsenter", "-t", str(self._pids["switch"]), "-n", *words]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode and not (missing_ok and "Cannot find device" in done.stderr):
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")


def _make_environment(folder: Path) -> None:
    """A virtual environment that holds nothing yet and sees the packages of this one."""
    if any(Path(sys.prefix).resolve().is_relative_to(own) for own in _OWN):
        raise RuntimeError(
            f"{sys.prefix}: the hosts have {', '.join(_OWN)} of their own and would not see this environment; clone "
            "the project elsewhere"
        )
    _do(sys.executable, "-m", "venv", "--without-pip", folder)
    packages = Path(sysconfig.get_path("purelib"))
    (target,) = folder.glob("lib/python*/site-packages")
    (target / "machine.pth").write_text(f"{packages}\n")
    for script in ("ray", "mlflow"):
        _, body = Path(sysconfig.get_path("scripts"), script).read_text().split("\n", 1)
        (folder / "bin" / script).write_text(f"#!/root/sdl-env/bin/python\n{body}")
        (folder / "bin" / script).chmod(0o755)


def _do(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True)


def _other_network(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    except OSError:
        return False


def _until(holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)
