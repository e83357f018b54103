"""A node's daemon as a process: `python -m quorate.service.daemon NODE.toml`.

SIGTERM and SIGINT take the daemon down and leave the virtual machines running; the next daemon adopts them.
"""

import asyncio
import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import TextIO

from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.status import Status
from quorate.hypervisor.qemu.driver import QemuHypervisor, QemuSettings
from quorate.service.configuration import read_configuration
from quorate.service.keeper import DAEMON_LOCK, take_lock
from quorate.service.logs import set_up_logs
from quorate.service.node import Node


async def run(path: Path) -> None:
    """Run a node until a signal ends it."""
    configuration = read_configuration(path)
    set_up_logs(configuration.node)
    settings = QemuSettings(
        cache=configuration.accelerator_cache or configuration.state / "accelerator.json",
        storages=configuration.storages,
        switches=configuration.switches,
        account=configuration.qemu_account,
    )
    configuration.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _lock_node(path.parent / DAEMON_LOCK)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    node = Node(configuration, QemuHypervisor(settings))
    await node.start()
    await ending.wait()
    await node.stop()
    lock.close()


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
    """Run the daemon; exit code 3 when it could not come up."""
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
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
