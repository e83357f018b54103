"""A node of a pocket cluster loses its power, and has it again: for the demo, for tests, and for people who try things.

What a pulled plug does to a machine is done to everything that belongs to the node, at once and without a word: its
QEMUs, its guard, its daemon. The keeper leaves it off until it is switched on again, or the cluster is started anew.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.service.keeper import OFF_MARK, command_line
from quorate.service.pocket_files import PocketNode, configured
from quorate.service.pocket_processes import wait_for

_KILLED: Final = 10.0
"""Seconds within which everything of a node is gone."""
_LOOKS: Final = 5
"""Looks, 50 ms each, that must find nothing: the keeper may have been about to start a daemon."""


def power_off(directory: Path, number: str) -> None:
    """Kill everything of a node and keep it off. What its guests had in memory is lost.

    Raises:
        CallerError: 5042, there is no such node.
        FaultError: 1460, something survives SIGKILL.
    """
    node = _node(directory, number)
    (directory / "nodes" / number / OFF_MARK).touch()
    quiet = 0

    def nothing_lives() -> bool:
        nonlocal quiet
        found = _processes(directory, node)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        quiet = 0 if found else quiet + 1
        return quiet >= _LOOKS

    wait_for(nothing_lives, _KILLED, f"not everything of node {number} is gone")


def power_on(directory: Path, number: str) -> None:
    """Let the keeper start the node's daemon again."""
    _node(directory, number)
    (directory / "nodes" / number / OFF_MARK).unlink(missing_ok=True)


def _node(directory: Path, number: str) -> PocketNode:
    for node in configured(directory):
        if node.id == number:
            return node
    raise CallerError(Status.ERROR_CLUSTER_NODE_NOT_FOUND, f"the pocket cluster in {directory} has no node {number}")


def _processes(directory: Path, node: PocketNode) -> list[int]:
    """Find the node's own processes: Quorate's and QEMUs that have one of its directories in their command line."""
    marks = [os.fsencode(f"{place}/") for place in (directory / "nodes" / node.id, node.state, node.runtime)]
    marks += [mark.replace(b",", b",,") for mark in marks if b"," in mark]
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            words = command_line(int(path.name)).replace(b"\0", b"/\0")
            program = words.partition(b"\0")[0].rpartition(b"/bin/")[2]
            ours = program.startswith(b"qemu") or any(
                word in words for word in (b"quorate.service.", b"quorate.hosting.")
            )
            if ours and any(mark in words for mark in marks):
                found.append(int(path.name))
    return found
