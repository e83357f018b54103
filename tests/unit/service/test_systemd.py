"""What systemd is told, and what its units say: a restart of the daemon or the guard never stops a QEMU."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.waiting import PATIENCE

from quorate.service.keeper import NOT_A_MEMBER
from quorate.service.machine import DEFAULT_RUNTIME
from quorate.service.systemd import feed_watchdog, notify, watchdog_pause

UNITS = Path(__file__).parents[3] / "packaging" / "systemd"


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(PATIENCE)
        yield listener


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"quorate-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
    with listening(f"\0{name}" if abstract else name) as listener:
        assert notify(READY="1", STATUS="node 1\nis up")
        assert listener.recv(1000) == b"READY=1\nSTATUS=node 1 is up"


@pytest.mark.parametrize("address", ["", "relative", "/nobody/listens/here"])
def test_without_systemd_nothing_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify(READY="1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not notify(READY="1")


def test_the_watchdog_is_fed_from_the_loop_twice_as_often_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_pause() == 0.01

    async def main(listener: socket.socket) -> None:
        listener.setblocking(False)
        feeding = asyncio.create_task(feed_watchdog())
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                assert await asyncio.get_running_loop().sock_recv(listener, 100) == b"WATCHDOG=1"
        feeding.cancel()

    with listening(str(tmp_path / "notify")) as listener:
        asyncio.run(main(listener))


@pytest.mark.parametrize(
    ("variables", "pause"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "20000000"}, 10.0),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_only_where_somebody_waits(
    variables: dict[str, str], pause: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert watchdog_pause() == pause
    if pause is None:
        asyncio.run(feed_watchdog())  # ends at once


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a unit, each with its values in order."""
    settings: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text(encoding="ascii").splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


def test_the_daemons_unit_never_stops_a_machine() -> None:
    node = unit("quorate-node.service")
    assert node["KillMode"] == ["process"]
    assert node["Delegate"] == ["yes"]
    assert node["OOMPolicy"] == ["continue"]
    assert node["SendSIGHUP"] == ["no"]
    assert node["RuntimeDirectoryPreserve"] == ["yes"]
    assert "Requires" not in node
    assert "PartOf" not in node
    assert "BindsTo" not in node


def test_the_daemons_unit_notifies_and_is_watched() -> None:
    node = unit("quorate-node.service")
    assert node["Type"] == ["notify"]
    assert node["NotifyAccess"] == ["main"]
    assert float(node["WatchdogSec"][0]) > 0
    assert node["Restart"] == ["always"]
    assert node["RestartPreventExitStatus"] == [str(NOT_A_MEMBER)]
    assert node["StartLimitIntervalSec"] == ["0"]
    assert node["ExecStart"][0].endswith("/quorate node run")


def test_the_guards_unit_brings_it_back_at_once() -> None:
    guard = unit("quorate-guard.service")
    assert guard["Restart"] == ["always"]
    assert guard["RestartSec"] == ["0"]
    assert guard["StartLimitIntervalSec"] == ["0"]
    assert guard["KillMode"] == ["process"]
    assert guard["Before"] == ["quorate-node.service"]
    assert guard["ExecStart"][0].split()[1:] == ["-m", "quorate.service.guard", str(DEFAULT_RUNTIME), "--stay"]
    assert guard["RuntimeDirectoryPreserve"] == ["yes"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for name in ("quorate-node.service", "quorate-guard.service"):
        text = (UNITS / name).read_text(encoding="ascii")
        for program in ("quorate", "python"):
            text = text.replace(f"/opt/quorate/bin/{program}", sys.executable)
        (tmp_path / name).write_text(text, encoding="ascii")
    paths = [str(path) for path in sorted(tmp_path.glob("*.service"))]
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
