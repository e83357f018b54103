"""``quorate up`` and ``quorate down``: the pocket cluster."""

import sys
from pathlib import Path

from quorate.cli import output
from quorate.cli.session import session
from quorate.client.address import cluster_place
from quorate.clusapi.json_types import JsonObject


def up(
    *, nodes: int | None = None, dir: Path | None = None, mscmrp: str | None = None, endpoint_mapper: bool = False
) -> int:
    """Start a pocket cluster: several nodes on this machine, without root.

    Parameters
    ----------
    nodes
        How many nodes; as many as it has, or three, if left out.
    dir
        Where it lives; the usual place of this account, if left out.
    mscmrp
        Where ClusAPI's wire protocol is spoken, HOST:PORT for the first node, the others at the ports that follow;
        "off" for nowhere. If left out, as before: nowhere, until it was asked for.
    endpoint_mapper
        Tell clients at port 135 where that is; the port usually needs root, or CAP_NET_BIND_SERVICE.
    """
    from quorate.service import pocket

    directory = _directory(dir)
    nodes = pocket.start(directory, nodes, mscmrp, endpoint_mapper=endpoint_mapper)
    spoken = {str(node): str(settings.listen) for node, settings in pocket.mscmrp_places(directory).items()}
    wire = f"MS-CMRP is spoken at {', '.join(spoken.values())}\n" if spoken else ""
    output.say(
        f"pocket cluster of {nodes} nodes is up in {directory}\n{wire}"
        f"next: quorate vm create vm1 --guest builtin; quorate vm start vm1; quorate vm migrate vm1",
        {"directory": str(directory), "nodes": nodes, "mscmrp": spoken},
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
    lost = pocket.stop(directory, _tell)
    facts: JsonObject = {
        "directory": str(directory),
        "stopped": True,
        "ended_unsaved": [{"pid": qemu.pid, "node": qemu.node} for qemu in lost],
    }
    sentence = f"the pocket cluster in {directory} is down"
    if lost:
        sentence += (
            f"\nended unsaved, since no daemon was there to save them: QEMU {', '.join(map(str, lost))}"
            "\nwhat their guests had in memory is lost; quorate up starts them from their disks"
        )
    output.say(sentence, facts)
    return output.EXIT_FAULT if lost else output.EXIT_SUCCESS


def _tell(sentence: str) -> None:
    """Say what is waited for; programs wait without that."""
    if not session.json:
        sys.stderr.write(f"{sentence}\n")
        sys.stderr.flush()


def _directory(given: Path | None) -> Path:
    return cluster_place(session.cluster) if given is None else given
