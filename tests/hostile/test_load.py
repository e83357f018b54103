"""Many well-behaved clients at a time: the handles of a thousand, two hundred connections, a blocked call on each."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest
from tests.hostile.daemon import Daemon, running_daemon
from tests.hostile.test_mscmrp import LONGEST_WAIT, ask_politely
from tests.unit.dcerpc.world import until
from tests.unit.server.mscmrp.face_world import WireUser
from tests.waiting import slowness

from quorate.clusapi.events import Change
from quorate.mscmrp.cluster_methods import OPEN_CLUSTER_EX, OpenClusterExIn
from quorate.mscmrp.group_methods import OPEN_GROUP_EX
from quorate.mscmrp.notify_methods import (
    ADD_NOTIFY_CLUSTER,
    CREATE_NOTIFY,
    GET_NOTIFY,
    AddNotifyIn,
    GetNotifyOut,
)
from quorate.mscmrp.shapes import HandleIn, NameAccessIn, NoIn
from quorate.server.mscmrp.access import GrantedAccess

CONNECTIONS: Final = 200
HANDLES: Final = 50
"""Of each connection: ten thousand in all, ten for each of a thousand clients."""
AT_A_TIME: Final = 20


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running_daemon(tmp_path / "c") as daemon:
        yield daemon


async def listener(user: WireUser) -> "asyncio.Task[GetNotifyOut]":
    """Open many handles, and wait for a group to be made."""
    opened = await user.ask(OPEN_CLUSTER_EX, OpenClusterExIn(GrantedAccess.READ))
    for _ in range(HANDLES - 2):
        assert await user.status(OPEN_GROUP_EX, NameAccessIn("Cluster Group", GrantedAccess.READ)) == 0
    port = (await user.ask(CREATE_NOTIFY, NoIn())).handle
    assert await user.status(ADD_NOTIFY_CLUSTER, AddNotifyIn(port, opened.handle, Change.GROUP_ADDED, 7)) == 0
    return asyncio.create_task(user.ask(GET_NOTIFY, HandleIn(port)))


def test_the_handles_of_a_thousand_clients_and_two_hundred_blocked_calls(daemon: Daemon) -> None:
    files, memory = daemon.files, daemon.memory

    async def test() -> None:
        async with AsyncExitStack() as stack, daemon.user("walter") as walter:
            users = [await stack.enter_async_context(daemon.user("reader1")) for _ in range(CONNECTIONS)]
            groups = [users[at : at + AT_A_TIME] for at in range(0, CONNECTIONS, AT_A_TIME)]
            tasks = [task for some in groups for task in await asyncio.gather(*map(listener, some))]
            longest = 0.0
            for _ in range(50):
                begun = time.monotonic()
                await ask_politely(walter)
                longest = max(longest, time.monotonic() - begun)
            assert longest < LONGEST_WAIT * slowness()
            assert not any(task.done() for task in tasks)
            grown = (daemon.memory - memory) >> 20
            print(f"{daemon.files - files} connections, {grown} MiB more, {longest:.3f} s at most")
            await asyncio.to_thread(daemon.cluster.call, "CreateGroup", name="new")
            async with asyncio.timeout(60):
                told = await asyncio.gather(*tasks)
            assert {(one.status, one.key, one.filter, one.name) for one in told} == {(0, 7, Change.GROUP_ADDED, "new")}
        await until(lambda: daemon.files <= files + 2)
        async with daemon.user("walter") as walter:
            await ask_politely(walter)

    asyncio.run(test())
    assert "Traceback" not in daemon.log
