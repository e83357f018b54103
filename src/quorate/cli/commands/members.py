"""Clusters of several machines: made, joined, run, left, upgraded."""

import os
import re
import sys
from pathlib import Path
from typing import Final

from quorate.cli import output
from quorate.cli.session import session
from quorate.client.address import MACHINE_DIRECTORY
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.status import Status

_ETC: Final = Path("/etc/quorate/node.toml")
_STATE: Final = MACHINE_DIRECTORY
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def create_(
    name: str,
    /,
    *,
    etcd: str,
    node: str,
    listen: str,
    peers: str,
    etcd_ca: Path | None = None,
    etcd_cert: Path | None = None,
    etcd_key: Path | None = None,
    share_etcd_key: bool = True,
    state: Path = _STATE,
    runtime: Path | None = None,
    saved: Path | None = None,
    storage_root: list[Path] | None = None,
) -> int:
    """Make a cluster for several machines, with this one as its first node.

    Parameters
    ----------
    name
        The cluster's name. An etcd holds any number of clusters, one of a name.
    etcd
        The members of etcd: https://HOST:PORT, separated by commas.
    node
        The name of this machine as a node.
    listen
        HOST:PORT where this node answers clients on other machines.
    peers
        HOST:PORT where this node answers the other nodes. HOST is this machine's own address.
    etcd_ca
        Who signed the certificates of etcd's members.
    etcd_cert
        A client's certificate that etcd accepts.
    etcd_key
        The key of that certificate. The cluster keeps both and hands them to the nodes that join.
    share_etcd_key
        With --no-share-etcd-key it does not: every node brings a client's certificate and key of its own.
    state
        Where the node keeps its configuration, certificates and virtual machines.
    runtime
        A short directory for its sockets.
    saved
        Where saved virtual machines go: storage that every node sees, if another node shall go on with them.
    storage_root
        Disks must lie below this directory; may be given more than once.
    """
    from quorate.service import members

    machine = members.machine(node, listen, peers, state, runtime, saved, storage_root or ())
    keys = members.EtcdFiles(etcd_ca, etcd_cert, etcd_key)
    made = members.create(name, etcd.split(","), keys, machine, share_key=share_etcd_key)
    facts: JsonObject = {
        "cluster": made.name,
        "id": made.instance_id,
        "node": made.node,
        "name": node,
        "configuration": str(made.configuration),
        "etcd_prefix": made.prefix,
    }
    output.say(
        f'the cluster "{made.name}" is made; this machine is its first node, "{node}"\n'
        f"next: {_run_words(made.configuration)}\n"
        f"then, for each other machine: quorate{'' if state == _STATE else f' --cluster {state}'} node token",
        facts,
    )
    return output.EXIT_SUCCESS


def join_(
    token: str,
    /,
    *,
    node: str,
    listen: str,
    peers: str,
    etcd_ca: Path | None = None,
    etcd_cert: Path | None = None,
    etcd_key: Path | None = None,
    state: Path = _STATE,
    runtime: Path | None = None,
    saved: Path | None = None,
    storage_root: list[Path] | None = None,
) -> int:
    """Let this machine join a cluster. If it breaks off, give the same command again.

    Parameters
    ----------
    token
        What `quorate node token` printed on a node of the cluster.
    node
        The name of this machine as a node.
    listen
        HOST:PORT where this node answers clients on other machines.
    peers
        HOST:PORT where this node answers the other nodes. HOST is this machine's own address.
    etcd_ca
        Who signed the certificates of etcd's members, if the cluster does not say.
    etcd_cert
        This machine's own client certificate for etcd, if the cluster hands none over.
    etcd_key
        The key of that certificate.
    state
        Where the node keeps its configuration, certificates and virtual machines.
    runtime
        A short directory for its sockets.
    saved
        Where saved virtual machines go: storage that every node sees, if another node shall go on with them.
    storage_root
        Disks must lie below this directory; may be given more than once.
    """
    from quorate.service import members

    machine = members.machine(node, listen, peers, state, runtime, saved, storage_root or ())
    joined = members.join(token, machine, members.EtcdFiles(etcd_ca, etcd_cert, etcd_key))
    facts: JsonObject = {
        "cluster": joined.cluster,
        "node": joined.node,
        "name": node,
        "configuration": str(joined.configuration),
    }
    output.say(
        f'this machine is node {joined.node}, "{node}", of the cluster "{joined.cluster}"\n'
        f"next: {_run_words(joined.configuration)}",
        facts,
    )
    return output.EXIT_SUCCESS


def token_(*, lifetime: str = "1h") -> int:
    """Print a token with which one machine may join the cluster, once. It is shown now and never again.

    Parameters
    ----------
    lifetime
        How long it is good: 90s, 30m, 1h, 7d.
    """
    made = session.client().call("CreateJoinToken", lifetime=_seconds(lifetime))
    facts: JsonObject = {"token": made.text("token"), "id": made.text("id"), "expires": made.text("expires")}
    if not session.json:
        sys.stderr.write(
            f"good for one machine until {made.text('expires')}; there: quorate node join TOKEN --node NAME …\n"
        )
    output.say(made.text("token"), facts)
    return output.EXIT_SUCCESS


def evict_(name: str, /, *, yes: bool = False) -> int:
    """Take a node out of the cluster for good. Its certificate is refused from then on.

    Parameters
    ----------
    name
        The node.
    yes
        Do not ask.
    """
    if not output.confirmed(f'Evict the node "{name}" from the cluster for good?', yes=yes):
        output.say("nothing was done", {"node": name, "evicted": False})
        return output.EXIT_REFUSAL
    done = session.client().call("EvictNode", node=name)
    left = done.optional_text("sentence") or ""
    output.say(
        f'"{name}" is in the cluster no more; its daemon ends by itself as soon as it notices\n{left}'.rstrip(),
        {"node": name, "evicted": True, "status": done.number("status"), "sentence": left},
    )
    return output.EXIT_SUCCESS


def run_(*, config: Path | None = None) -> int:
    """Run this machine's node until a signal ends it: what systemd starts.

    Parameters
    ----------
    config
        Its configuration; /etc/quorate/node.toml, or else /var/lib/quorate/node.toml, if left out.
    """
    path = config or (_ETC if _ETC.exists() else _STATE / "node.toml")
    sys.stdout.flush()
    # The same process goes on as the daemon, with nothing loaded that only the command line needs.
    os.execv(sys.executable, [sys.executable, "-m", "quorate.service.daemon", str(path.absolute())])


def upgrade_(*, yes: bool = False) -> int:
    """Raise the cluster's functional level to what every node knows; nodes with an older Quorate cannot join then.

    Parameters
    ----------
    yes
        Do not ask.
    """
    client = session.client()
    plan = client.call("UpgradeClusterFunctionalLevel", perform=False)
    level, target, sentence = plan.number("level"), plan.number("target"), plan.text("sentence")
    if target <= level:
        output.say(f"{sentence}; there is nothing to raise", {"level": level, "raised": False, "sentence": sentence})
        return output.EXIT_SUCCESS
    if not output.confirmed(f"{sentence}. There is no way back. Raise it?", yes=yes):
        output.say("nothing was done", {"level": level, "raised": False, "sentence": sentence})
        return output.EXIT_REFUSAL
    done = client.call("UpgradeClusterFunctionalLevel", perform=True)
    output.say(
        f"the cluster is at functional level {done.number('target')} now",
        {"level": done.number("target"), "raised": True, "sentence": done.text("sentence")},
    )
    return output.EXIT_SUCCESS


def rename_(name: str, /) -> int:
    """Give the cluster another name. Its place in etcd keeps the first one."""
    status = session.client().call("SetClusterName", name=name).number("status")
    output.say(f'the cluster is called "{name}" now', {"cluster": name, "status": status})
    return output.EXIT_SUCCESS


def _run_words(configuration: Path) -> str:
    usual = configuration in (_ETC, _STATE / "node.toml")
    return (
        "systemctl enable --now quorate-guard quorate-node" if usual else f"quorate node run --config {configuration}"
    )


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text.strip().lower())
    if match is None:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"--lifetime {text}: write it as 90s, 30m, 1h or 7d")
    return min(int(match[1]) * _UNITS[match[2]], 0xFFFFFFFF)
