"""A node's daemon as a process: `python -m quorate.service.daemon NODE.toml`.

SIGTERM and SIGINT take the daemon down and leave the virtual machines running; the next daemon adopts them. It waits
before until no guest that lives elsewhere misses pages that are here only (post-copy); a second signal ends that.
A node that was evicted takes itself down and exits with `NOT_A_MEMBER`: whoever keeps daemons running need not start it
again.
"""

import asyncio
import faulthandler
import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.status import Status
from quorate.service.configuration import read_configuration
from quorate.service.keeper import DAEMON_LOCK, NOT_A_MEMBER, take_lock
from quorate.service.logs import set_up_logs
from quorate.service.systemd import feed_watchdog, notify

if TYPE_CHECKING:
    from quorate.service.node import Node

EXTENSION = "15000000"
"""Microseconds that systemd waits for the next word while pages leave."""


async def run(path: Path) -> None:
    """Run a node until a signal ends it."""
    gc.disable()  # nothing of what is loaded is garbage; looking for some takes a fifth of the time
    from quorate.service.drivers import open_driver
    from quorate.service.node import Node

    gc.freeze()
    gc.enable()
    configuration = read_configuration(path)
    set_up_logs(configuration.node)
    configuration.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _lock_node(path.parent / DAEMON_LOCK)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    feeding = loop.create_task(feed_watchdog())
    node = Node(configuration, open_driver(configuration))
    notify(STATUS="waiting for the database, and for what an earlier daemon left")
    await node.start()
    notify(READY="1", STATUS=f"node {configuration.node} is up")
    evicted = await _wait_for_end(node, ending)
    if evicted is None:
        evicted = await _wait_sent(node, ending)
    notify(STOPPING="1", STATUS="going down; virtual machines go on" if evicted is None else evicted.sentence)
    await node.stop()
    feeding.cancel()
    lock.close()
    if evicted is not None:
        raise evicted


async def _wait_sent(node: "Node", ending: asyncio.Event) -> RefusalError | None:
    """Wait until what lives elsewhere has its last pages; another signal ends that, or the node's eviction."""
    ending.clear()
    sending = asyncio.ensure_future(node.wait_sent(_report_wait))
    end = asyncio.ensure_future(_wait_for_end(node, ending))
    await asyncio.wait((sending, end), return_when=asyncio.FIRST_COMPLETED)
    for one in (sending, end):
        one.cancel()
    _, found = await asyncio.gather(sending, end, return_exceptions=True)
    return found if isinstance(found, RefusalError) else None


def _report_wait(sentence: str) -> None:
    """Tell systemd what is waited for, and that it shall have so much more time before it kills."""
    notify(STOPPING="1", STATUS=sentence, EXTEND_TIMEOUT_USEC=EXTENSION)


async def _wait_for_end(node: "Node", ending: asyncio.Event) -> RefusalError | None:
    """Wait for a signal, or for the node's eviction, which is told."""
    waiting = asyncio.ensure_future(ending.wait())
    eviction = asyncio.ensure_future(node.wait_evicted())
    await asyncio.wait((waiting, eviction), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if eviction.done():
        return eviction.result()
    eviction.cancel()
    return None


def _lock_node(path: Path) -> TextIO:
    """Make sure that a node has one daemon. The lock ends with the process, however that ends.

    Raises:
        RefusalError: 1056, another daemon of the node lives.
    """
    file = path.open("a+", encoding="ascii")
    if not take_lock(file):
        file.close()
        raise RefusalError(Status.ERROR_SERVICE_ALREADY_RUNNING, f"another daemon holds {path}")
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def main() -> int:
    """Run the daemon; exit code 3 when it could not come up, NOT_A_MEMBER when it never will."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    os.umask(0o077)  # files and sockets are for their owner; every QEMU inherits it
    if len(sys.argv) != 2:
        print("usage: python -m quorate.service.daemon NODE.toml", file=sys.stderr)
        return 2
    try:
        asyncio.run(run(Path(sys.argv[1])))
    except ClusterError as error:
        print(f"quorate: {error}", file=sys.stderr)
        notify(STATUS=error.sentence)
        return NOT_A_MEMBER if error.status is Status.ERROR_CLUSTER_NODE_NOT_MEMBER else 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
