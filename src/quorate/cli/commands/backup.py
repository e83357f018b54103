"""``quorate cluster backup`` and ``quorate cluster restore``: on the database itself, whether daemons run or not."""

import sys
from pathlib import Path

from quorate.cli import output
from quorate.cli.session import session
from quorate.clusapi.json_types import JsonObject


def backup_(file: Path, /, *, config: Path | None = None) -> int:
    """Write the cluster's database to a file, as it stands at one moment. To be run on a node.

    The cluster's secrets are in it, its keys to certificates and to etcd too. Disks, memory and events are not.

    Parameters
    ----------
    file
        The file to be made; only its owner may read it.
    config
        The configuration of a node; this machine's, or that of the pocket cluster, if left out.
    """
    from quorate.service import backup

    facts = backup.back_up(backup.find_configuration(config, session.cluster), file)
    described: JsonObject = {
        "file": str(file),
        "cluster": facts.cluster,
        "id": facts.instance_id,
        "revision": str(facts.revision),
        "time": facts.time,
        "records": facts.records,
    }
    output.say(
        f'{file}: {facts.records} records of the cluster "{facts.cluster}" at revision {facts.revision}\n'
        "it holds the cluster's secrets: whoever can read it can be a node",
        described,
    )
    return output.EXIT_SUCCESS


def restore_(file: Path, /, *, config: Path | None = None, yes: bool = False) -> int:
    """Bring the cluster's database back from a backup, while every node is down. To be run on a node.

    What was made or changed since the backup is lost. No virtual machine goes on where it was: those that are wanted
    online start from their disks, and saved memory is forgotten.

    Parameters
    ----------
    file
        What `quorate cluster backup` has written.
    config
        The configuration of a node; this machine's, or that of the pocket cluster, if left out.
    yes
        Do not ask.
    """
    from quorate.service import backup

    place = backup.find_configuration(config, session.cluster)
    found = backup.read_file(file)
    question = (
        f'Bring the cluster "{found.facts.cluster}" back to {found.facts.time}? Every daemon must be stopped, and no '
        "virtual machine may run on any node."
    )
    if not output.confirmed(question, yes=yes):
        output.say("nothing was done", {"file": str(file), "restored": False})
        return output.EXIT_REFUSAL
    restored = backup.restore(place, found, _tell)
    facts: JsonObject = {
        "file": str(file),
        "restored": True,
        "cluster": restored.facts.cluster,
        "time": restored.facts.time,
        "records": restored.facts.records,
        "groups": restored.groups,
    }
    output.say(
        f'the cluster "{restored.facts.cluster}" is as it was at {restored.facts.time}: {_groups(restored.groups)} '
        "offline until the nodes are up\nnext: start the daemons",
        facts,
    )
    return output.EXIT_SUCCESS


def _groups(number: int) -> str:
    return "its group is" if number == 1 else f"its {number} groups are"


def _tell(sentence: str) -> None:
    if not session.json:
        sys.stderr.write(f"{sentence}\n")
        sys.stderr.flush()
