"""``quorate up`` and ``quorate down``: the pocket cluster."""

from pathlib import Path

from quorate.cli import output
from quorate.cli.session import session
from quorate.client.address import cluster_place


def up(*, nodes: int = 3, dir: Path | None = None) -> int:
    """Start a pocket cluster: several nodes on this machine, without root.

    Parameters
    ----------
    nodes
        How many nodes.
    dir
        Where it lives; the usual place of this account, if left out.
    """
    from quorate.service import pocket

    directory = _directory(dir)
    pocket.start(directory, nodes)
    output.say(
        f"pocket cluster of {nodes} nodes is up in {directory}\n"
        f"next: quorate vm create vm1 --guest builtin; quorate vm start vm1; quorate vm migrate vm1",
        {"directory": str(directory), "nodes": nodes},
    )
    return output.EXIT_SUCCESS


def down(*, dir: Path | None = None, yes: bool = False) -> int:
    """Stop the pocket cluster; virtual machines go off as their OfflineAction says.

    Parameters
    ----------
    dir
        Where it lives; the usual place of this account, if left out.
    yes
        Do not ask.
    """
    from quorate.service import pocket

    directory = _directory(dir)
    if not output.confirmed(f"Stop the pocket cluster in {directory} and its virtual machines?", yes=yes):
        output.say("nothing was done", {"directory": str(directory), "stopped": False})
        return output.EXIT_REFUSAL
    pocket.stop(directory)
    output.say(f"the pocket cluster in {directory} is down", {"directory": str(directory), "stopped": True})
    return output.EXIT_SUCCESS


def _directory(given: Path | None) -> Path:
    return cluster_place(session.cluster) if given is None else given
