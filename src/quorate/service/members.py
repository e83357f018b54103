"""What the commands of a cluster of several machines do: the texts that people type become a cluster, or a node."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from quorate.clusapi.addresses import HostPort
from quorate.database.etcd.settings import EtcdSettings
from quorate.peers.join_token import JoinWord
from quorate.service.installation import CreatedCluster, NewCluster, create_cluster
from quorate.service.joining import EtcdFiles, Joined
from quorate.service.joining import join as join_cluster
from quorate.service.machine import Machine
from quorate.service.stores import new_etcd_store

__all__ = ["EtcdFiles", "create", "join", "machine"]


def machine(
    name: str,
    listen: str,
    peers: str,
    state: Path,
    runtime: Path | None,
    saved: Path | None,
    storage_roots: Sequence[Path],
) -> Machine:
    """This machine, as it shall become a node. Raises CallerError 87."""
    return Machine(name, HostPort.parse(listen), HostPort.parse(peers), state, runtime, saved, tuple(storage_roots))


def create(
    name: str, endpoints: Sequence[str], files: EtcdFiles, machine: Machine, *, share_key: bool
) -> CreatedCluster:
    """Make a cluster. Raises ClusterError; see :func:`quorate.service.installation.create_cluster`."""
    settings = EtcdSettings(tuple(text.strip() for text in endpoints), files.ca, files.certificate, files.key)
    return asyncio.run(create_cluster(NewCluster(name, settings, machine, share_key), new_etcd_store))


def join(token: str, machine: Machine, own: EtcdFiles) -> Joined:
    """Join a cluster. Raises ClusterError; see :func:`quorate.service.joining.join`."""
    return asyncio.run(join_cluster(JoinWord.parse(token), machine, own, new_etcd_store))
