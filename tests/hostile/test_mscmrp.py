"""A real daemon, and clients that send what nobody should: it goes on, forgets them, and everybody else is served."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from tests.hostile.attack import Attack, Witness
from tests.hostile.daemon import USERS, Daemon, running_daemon
from tests.system.soak import Rounds, soaking
from tests.unit.dcerpc.world import until
from tests.unit.server.mscmrp.face_world import WireUser
from tests.waiting import slowness

from quorate.mscmrp.cluster_methods import GET_CLUSTER_NAME
from quorate.mscmrp.group_methods import CLOSE_GROUP, GET_GROUP_STATE, OPEN_GROUP_EX
from quorate.mscmrp.shapes import HandleIn, NameAccessIn, NoIn
from quorate.server.mscmrp.access import GrantedAccess

ROUNDS: Final = Rounds("mscmrp", 50) if soaking() else Rounds("mscmrp-short", 1)
EACH_ROUND: Final = 20_000
"""Damaged PDUs and stubs: a million when soaking."""
WARM_UP: Final = 2000
MOST_GROWTH: Final = 50 << 20
"""Bytes, from the first warm-up to the end of the last round."""
LONGEST_WAIT: Final = 20.0
"""Seconds for a client that behaves. It is some milliseconds; on a machine that others keep busy, seconds."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running_daemon(tmp_path / "c") as daemon:
        yield daemon


async def ask_politely(user: WireUser) -> None:
    async with asyncio.timeout(60):
        assert (await user.ask(GET_CLUSTER_NAME, NoIn())).node_name == "node1"
        opened = await user.ask(OPEN_GROUP_EX, NameAccessIn("Cluster Group", GrantedAccess.READ))
        assert await user.status(GET_GROUP_STATE, HandleIn(opened.handle)) == 0
        assert await user.status(CLOSE_GROUP, HandleIn(opened.handle)) == 0


@asynccontextmanager
async def witnesses(daemon: Daemon) -> AsyncIterator[list[Witness]]:
    """One who asks over MS-CMRP, by calls and handles, and one who asks over HTTP."""
    async with daemon.user("walter") as walter:
        cluster = daemon.cluster
        both = [
            Witness(lambda: ask_politely(walter), 0.02),
            Witness(lambda: asyncio.to_thread(cluster.call, "ListNodes"), 0.2),
        ]
        for witness in both:
            witness.start()
        try:
            yield both
        finally:
            for witness in both:
                await witness.end()


@pytest.mark.soak
def test_a_daemon_goes_on_whatever_is_sent_to_it(daemon: Daemon) -> None:
    first = daemon.pid
    intruders = {name: password for name, password in USERS.items() if name != "walter"}
    before = 0
    for number in range(ROUNDS.count):
        if ROUNDS.is_done(number):
            continue
        attack = Attack(daemon.port, intruders, ROUNDS.random(number))
        files = daemon.files
        before = asyncio.run(one_round(daemon, attack, before))
        assert (attack.hangs, daemon.pid) == (0, first)
        assert attack.faults["answered"] > EACH_ROUND / 200 and attack.faults["fault 0x6f7"] > EACH_ROUND / 200
        asyncio.run(until(lambda files=files: daemon.files <= files + 2))  # type: ignore[misc]
        broken = daemon.log.find("Traceback")
        assert broken < 0, f"seed {ROUNDS.seed(number)}: {daemon.log[max(0, broken - 500) :][:4000]}"
        print(f"{attack.sent} sent, memory {daemon.memory >> 20} MiB; {dict(attack.faults)}")
        ROUNDS.note_done(number, sent=attack.sent)


async def one_round(daemon: Daemon, attack: Attack, before: int) -> int:
    """Attack; give the memory before the first attack of all, which is measured when it is 0."""
    async with witnesses(daemon) as both:
        if not before:
            await attack.run(WARM_UP)
            before = daemon.memory
        await attack.run(EACH_ROUND)
        assert [witness.errors for witness in both] == [[], []]
        assert all(witness.answers > 5 and witness.longest < LONGEST_WAIT * slowness() for witness in both), both
        assert daemon.memory - before < MOST_GROWTH
        print(f"others waited {' and '.join(f'{witness.longest:.3f}' for witness in both)} s at most; ", end="")
    return before
