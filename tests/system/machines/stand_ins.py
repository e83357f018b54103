"""Programs for test_guide.py's machines, where there is no systemd, no second machine and no package source.

===============  =====================================================================================================
typed            what it does here
===============  =====================================================================================================
apt-get          install: makes sure that the machine has what the package brings; else nothing
python3 -m venv  the directory gets the interpreter and the ``quorate`` of the environment in which the tests run
pip install      makes sure that the sources are there, with the extra that is asked for
systemctl        starts what the units say: ExecStart, Environment, EnvironmentFile, User, RuntimeDirectory,
                 StateDirectory, ConditionPathExists; waits for READY=1 of Type=notify; ends by KillMode and
                 TimeoutStopSec. What has ended is not started again. ``boot``: starts what is enabled
scp, ssh         reach the other machines' file systems
===============  =====================================================================================================

Called as ``stand_ins.py PROGRAM ARGUMENTS…``; /etc/stand-ins.json says where things are.
"""

import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

PLACES: Final = Path("/etc/stand-ins.json")
PROGRAMS: Final = {
    "etcd-server": "etcd",
    "openssl": "openssl",
    "qemu-system-x86": "qemu-system-x86_64",
    "qemu-utils": "qemu-img",
    "python3-venv": "python3",
}
"""What a package of the guide's brings."""
ETCD: Final = """
[Service]
Environment=ETCD_NAME=%H
Environment=ETCD_DATA_DIR=/var/lib/etcd/default
EnvironmentFile=-/etc/default/etcd
Type=notify
User=etcd
ExecStart=/usr/bin/etcd
"""
"""Debian's unit, for machines on which its package is not installed."""
UNITS: Final = (Path("/etc/systemd/system"), Path("/lib/systemd/system"))
RUNNING: Final = Path("/run/stand-ins")
ENABLED: Final = Path("/var/lib/stand-ins/enabled")
START: Final = 60.0


def places() -> Mapping[str, str]:
    found = json.loads(PLACES.read_text())
    assert isinstance(found, dict)
    return found


# --- packages ------------------------------------------------------------------------------------------------------


def apt_get(arguments: Sequence[str]) -> int:
    verb, *rest = arguments
    if verb == "install":
        missing = [word for word in rest if not word.startswith("-") and shutil.which(PROGRAMS[word]) is None]
        if missing:
            sys.exit(f"not on this machine: {', '.join(missing)}")
    elif verb != "update":
        sys.exit(f"apt-get {verb}: no stand-in")
    return 0


def python3(arguments: Sequence[str]) -> int:
    if tuple(arguments[:2]) != ("-m", "venv"):
        os.execv("/usr/bin/python3", ["python3", *arguments])
    programs = Path(arguments[2]) / "bin"
    programs.mkdir(parents=True)
    python = Path(places()["python"])
    # Not a link: an interpreter looks for its packages beside the name that it was called by.
    (programs / "python").write_text(f'#!/bin/sh\nexec {python} "$@"\n')
    (programs / "python").chmod(0o755)
    (programs / "quorate").symlink_to(python.with_name("quorate"))
    (programs / "pip").symlink_to("/usr/local/sbin/pip")
    return 0


def pip(arguments: Sequence[str]) -> int:
    verb, *rest = arguments
    source, extra = rest[-1].rstrip("]").split("[")
    if verb != "install" or set(rest[:-1]) - {"--upgrade"}:
        sys.exit(f"pip {shlex.join(arguments)}: no stand-in")
    project = tomllib.loads((Path(source) / "pyproject.toml").read_text())["project"]
    if extra not in project["optional-dependencies"]:
        sys.exit(f"the project has no extra {extra}")
    return 0


# --- services ------------------------------------------------------------------------------------------------------


class Unit:
    """One service."""

    def __init__(self, name: str) -> None:
        self.name = name.removesuffix(".service")
        path = next((d / f"{self.name}.service" for d in UNITS if (d / f"{self.name}.service").exists()), None)
        if path is None and self.name != "etcd":
            sys.exit(f"Unit {self.name}.service not found.")
        self._settings: dict[str, list[str]] = {}
        for line in (path.read_text() if path else ETCD).splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith(("#", ";")):
                self._settings.setdefault(key.strip(), []).append(value.strip())

    def _last(self, key: str, otherwise: str = "") -> str:
        return self._settings.get(key, [otherwise])[-1]

    @property
    def _pid_file(self) -> Path:
        return RUNNING / f"{self.name}.pid"

    def pid(self) -> int:
        """Its process; 0 when none lives."""
        with suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text())
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                return pid
        return 0

    def start(self, *, wait: bool = True) -> None:
        if self.pid() or not self._conditions_hold():
            return
        RUNNING.mkdir(parents=True, exist_ok=True)
        environment, listener = self._environment(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        place = RUNNING / f"{self.name}.notify"
        place.unlink(missing_ok=True)
        listener.bind(str(place))
        place.chmod(0o777)
        notifies = self._last("Type") == "notify"
        if notifies:
            environment["NOTIFY_SOCKET"] = str(place)
        argv = [word for word in shlex.split(self._last("ExecStart")) if not word.startswith("$")]
        with (Path("/var/log") / f"{self.name}.log").open("ab") as log:
            process = subprocess.Popen(
                argv,
                env=environment,
                cwd="/",
                user=self._user(),
                group=self._group(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._pid_file.write_text(str(process.pid))
        if notifies and wait:
            self._wait_ready(listener, process)

    def _conditions_hold(self) -> bool:
        triggers = [value[1:] for value in self._settings.get("ConditionPathExists", ())]
        return not triggers or any(Path(path).exists() for path in triggers)

    def _wait_ready(self, listener: socket.socket, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START
        listener.settimeout(0.1)
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                if b"READY=1" in listener.recv(4096):
                    return
            if process.poll() is not None:
                break
        log = (Path("/var/log") / f"{self.name}.log").read_text(errors="replace")
        sys.exit(f"Job for {self.name}.service failed.\n{log[-2000:]}")

    def _environment(self) -> dict[str, str]:
        found = {"PATH": os.environ["PATH"]}
        found |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        for directory, key in (("/run", "RuntimeDirectory"), ("/var/lib", "StateDirectory")):
            if name := self._last(key):
                path = Path(directory) / name
                path.mkdir(parents=True, exist_ok=True)
                path.chmod(int(self._last(f"{key}Mode", "0755"), 8))
        lines = [value.replace("%H", socket.gethostname()) for value in self._settings.get("Environment", ())]
        for value in self._settings.get("EnvironmentFile", ()):
            path = Path(value.removeprefix("-").replace("%p", self.name))
            if path.exists() or not value.startswith("-"):
                lines += path.read_text().splitlines()
        for line in lines:
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                found[name] = value
        return found

    def _user(self) -> int | None:
        name = self._last("User")
        return pwd.getpwnam(name).pw_uid if name else None

    def _group(self) -> int | None:
        name = self._last("User")
        return pwd.getpwnam(name).pw_gid if name else None

    def stop(self) -> None:
        pid = self.pid()
        if not pid:
            return
        for number, patience in ((signal.SIGTERM, float(self._last("TimeoutStopSec", "90"))), (signal.SIGKILL, 10.0)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + patience
            while self.pid() and time.monotonic() < deadline:
                time.sleep(0.02)
            if not self.pid():
                break
        self._pid_file.unlink(missing_ok=True)


def systemctl(arguments: Sequence[str]) -> int:
    verb, *rest = arguments
    units = [Unit(name) for name in rest if not name.startswith("-")]
    at_once = "--now" in rest
    ENABLED.mkdir(parents=True, exist_ok=True)
    match verb:
        case "daemon-reload":
            pass
        case "enable":
            for unit in units:
                (ENABLED / unit.name).touch()
                if at_once:
                    unit.start()
        case "disable":
            for unit in units:
                (ENABLED / unit.name).unlink(missing_ok=True)
                if at_once:
                    unit.stop()
        case "start":
            for unit in units:
                unit.start()
        case "stop":
            for unit in units:
                unit.stop()
        case "restart":
            for unit in units:
                unit.stop()
            for unit in units:
                unit.start()
        case "boot":
            for name in ("etcd", "quorate-guard", "quorate-node"):
                if (ENABLED / name).exists():
                    Unit(name).start(wait=name != "quorate-node")
        case _:
            sys.exit(f"systemctl {verb}: no stand-in")
    return 0


# --- other machines ------------------------------------------------------------------------------------------------


def scp(arguments: Sequence[str]) -> int:
    *sources, target = [word for word in arguments if not word.startswith("-")]
    if not sources:
        sys.exit("scp: what?")
    subprocess.run(["cp", "-rp", *sources, _there(target)], check=True)
    return 0


def ssh(arguments: Sequence[str]) -> int:
    """Only what needs nothing but the other machine's files."""
    target, *command = arguments
    done = subprocess.run(
        ["chroot", _there(f"{target}:/"), "sh", "-c", f"cd /root; {shlex.join(command)}"], check=False
    )
    return done.returncode


def _there(target: str) -> str:
    """A place such as root@192.0.2.12:/etc as a path of ours; what is relative is in root's home."""
    host, _, path = target.partition(":")
    return places()[host.removeprefix("root@")] + str(Path("/root") / path)


STAND_INS: Final[Mapping[str, Callable[[Sequence[str]], int]]] = {
    "apt-get": apt_get,
    "python3": python3,
    "pip": pip,
    "systemctl": systemctl,
    "scp": scp,
    "ssh": ssh,
}

if __name__ == "__main__":
    sys.exit(STAND_INS[sys.argv[1]](sys.argv[2:]))
