"""The daemon's side of the guard, with real guards: there is always one that lives and understands us."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.guard_rig import LIMIT, GuardRig, guard_rig

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.engine import guard as guard_module
from quorate.engine.guard import GuardLink
from quorate.engine.guard_file import GUARD_FILE, LAYOUT, boottime
from quorate.service.guard_process import guard_stand_in, guard_starter

ANOTHER_VERSION = """
import sys, time
from pathlib import Path
from quorate.engine import guard_file
guard_file.LAYOUT += 1
file = guard_file.GuardFile(Path(sys.argv[1]))
assert file.try_lock()
pulse = file.pulse_writer(guard_file.Party.GUARD)
while True:
    pulse()
    time.sleep(0.02)
"""
"""A guard of a layout whose header is the same: pulses keep their place and form in every layout."""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[GuardRig]:
    with guard_rig(tmp_path) as made:
        yield made


@pytest.fixture
def link(rig: GuardRig) -> Iterator[GuardLink]:
    """A link whose guards are ended afterwards."""
    starter = guard_starter(rig.runtime.parent, rig.runtime, None)

    def start() -> subprocess.Popen[bytes]:
        process = starter()
        rig.own(process)
        return process

    made = GuardLink(rig.runtime / GUARD_FILE, start)
    yield made
    made.close()


def _until_one_lives(rig: GuardRig, link: GuardLink) -> None:
    def lives() -> bool:
        link.look_after()
        return link.is_live()

    rig.wait(lives, "a guard lives")


def _pid(rig: GuardRig) -> int:
    pid = rig.guard_pid()
    assert pid is not None
    return pid


def test_one_that_is_not_there_is_started_and_started_again(rig: GuardRig, link: GuardLink) -> None:
    assert not link.is_live()
    _until_one_lives(rig, link)
    first = _pid(rig)
    os.kill(first, signal.SIGKILL)
    rig.wait(lambda: not link.is_live(), "it is seen at once")
    began = time.monotonic()
    _until_one_lives(rig, link)
    print(f"another guard lives after {time.monotonic() - began:.2f} s")
    assert _pid(rig) != first
    link.check("this")


def test_one_that_stands_still_is_replaced(rig: GuardRig, link: GuardLink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "FROZEN", 0.5)
    _until_one_lives(rig, link)
    first = _pid(rig)
    os.kill(first, signal.SIGSTOP)
    rig.wait(lambda: not link.is_live(), "it is seen")
    with pytest.raises(FaultError, match=rf"this was refused: the node's guard \(pid {first}\) has stood still for \d"):
        link.check("this")
    _until_one_lives(rig, link)
    assert _pid(rig) != first


def test_one_of_another_version_is_replaced(rig: GuardRig, link: GuardLink) -> None:
    other = subprocess.Popen([sys.executable, "-c", ANOTHER_VERSION, str(rig.runtime / GUARD_FILE)])
    rig.own(other)
    rig.wait(lambda: rig.guard_pid() == other.pid, "it guards")
    assert not link.is_live()
    _until_one_lives(rig, link)
    assert other.wait(LIMIT) == -signal.SIGKILL
    pulse = rig.pulse()
    assert pulse is not None
    assert pulse.layout == LAYOUT


def test_a_guard_of_somebody_else_is_used_and_never_started(rig: GuardRig) -> None:
    link = GuardLink(rig.runtime / GUARD_FILE, None)
    link.look_after()
    with pytest.raises(FaultError, match=r"quorate-guard\.service has to be started") as fault:
        link.check("this")
    assert fault.value.status is Status.ERROR_SERVICE_NOT_ACTIVE
    guard = rig.guard("--stay")
    link.check("this")
    link.close()
    rig.rounds()
    assert guard.poll() is None, "it is not ours to end"


def test_who_starts_virtual_cpus_waits_for_a_guard_that_is_being_started(rig: GuardRig, link: GuardLink) -> None:
    async def wait() -> None:
        keeping = asyncio.create_task(link.keep())
        await link.wait_live("this", LIMIT)
        keeping.cancel()

    with pytest.raises(FaultError, match="this was refused"):
        asyncio.run(link.wait_live("this", 0.0))
    asyncio.run(wait())
    assert link.is_live()


@pytest.mark.parametrize("is_frozen", [False, True], ids=["dead", "frozen"])
def test_the_daemon_does_the_work_of_a_guard_that_is_not_there_in_time(rig: GuardRig, is_frozen: bool) -> None:
    link = GuardLink(rig.runtime / GUARD_FILE, None, guard_stand_in(rig.runtime))
    if is_frozen:
        os.kill(rig.guard().pid, signal.SIGSTOP)
    deadline = rig.let_run(1.0)
    qemus = [rig.qemu(f"web{number}") for number in range(3)]

    def ended() -> bool:
        link.look_after()
        return all(qemu.poll() is not None for qemu in qemus)

    while boottime() < deadline:
        assert not ended() or boottime() >= deadline
    rig.wait(ended, "they are ended")
    link.close()


def test_a_deadline_that_was_set_is_kept(rig: GuardRig, link: GuardLink) -> None:
    qemu = rig.qemu()
    _until_one_lives(rig, link)
    deadline = boottime() + 0.3
    link.set_deadline(deadline, 5.0)
    assert rig.end_of(qemu) >= deadline


def test_a_daemon_that_ends_takes_an_idle_guard_with_it_and_leaves_one_that_guards(rig: GuardRig) -> None:
    for busy in (False, True):
        starter = guard_starter(rig.runtime.parent, rig.runtime, None)
        link = GuardLink(rig.runtime / GUARD_FILE, lambda starter=starter: rig.own(starter()))  # type: ignore[misc]
        link.set_deadline(boottime() + LIMIT)
        if busy:
            rig.qemu()
        _until_one_lives(rig, link)
        pid = _pid(rig)
        rig.rounds()
        link.close()
        if busy:
            rig.rounds()
            assert _pid(rig) == pid
        else:
            rig.wait(lambda: rig.guard_pid() is None, "it has ended")
