"""A cluster of several machines is made: `quorate cluster create`.

All of it is one transaction in etcd, and it is the last thing that is done: what fails before leaves nothing behind.
"""

import asyncio
import os
import pwd
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import FaultError, RefusalError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import GroupId, NodeId, ResourceId
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import StoreUnavailable
from quorate.database.etcd.settings import EtcdSettings
from quorate.database.member_records import AuthorityRecord, StoreAccess
from quorate.database.members import Founding
from quorate.database.plan import check_name
from quorate.peers.identity import IdentityPems
from quorate.service.etcd_probe import check_etcd
from quorate.service.joining import OpenStore
from quorate.service.machine import Machine, MachineFiles

FIRST_NODE: Final = NodeId("1")
SETTLING: Final = 20.0
"""Seconds for finding out what became of the transaction when its answer is lost."""


@dataclass(frozen=True, slots=True)
class NewCluster:
    """What shall be made."""

    name: str
    etcd: EtcdSettings
    """With the files that were given on the command line; the prefix is chosen by the cluster's name."""
    machine: Machine
    hand_over: bool = True
    """Whether nodes that join are given the client's pair to etcd, which the cluster then keeps for them."""


@dataclass(frozen=True, slots=True)
class CreatedCluster:
    """What was made."""

    name: str
    instance_id: str
    node: NodeId
    configuration: Path
    prefix: str


def prefix_of(name: str) -> str:
    """The part of etcd that belongs to the cluster of this name, in whichever case it is written."""
    return f"quorate/{keys.fold(name)}/"


async def create_cluster(new: NewCluster, open_store: OpenStore) -> CreatedCluster:
    """Make a cluster with its first node, this machine.

    Raises:
        CallerError, RefusalError: it cannot be made so, for example 5900, there is one of that name.
        FaultError: etcd does not serve; 1460, it is not known whether the cluster was made.
    """
    check_name("cluster", new.name)
    new.machine.check()
    new = replace(new, etcd=replace(new.etcd, prefix=prefix_of(new.name)))
    access = _access(new)
    await check_etcd(new.etcd)
    store = open_store(new.etcd)
    try:
        database = ClusterDatabase(store)
        if await database.members.instance_id() is not None:
            raise _taken(new)
        founding, pems = _found(new, access)
        with MachineFiles(new.machine) as files:
            new.machine.identity.save(pems)
            path = files.write_configuration(FIRST_NODE, new.name, files.write_store_access(access))
            await _commit(database, founding, new)
            files.keep()
    finally:
        await store.close()
    return CreatedCluster(new.name, founding.instance_id, FIRST_NODE, path, new.etcd.prefix)


def _access(new: NewCluster) -> StoreAccess:
    ca, key, certificate = (
        b"" if content is None else content for content in new.etcd.credentials()
    )  # CallerError 87 for a file that is no PEM
    return StoreAccess(
        endpoints=tuple(str(endpoint) for endpoint in new.etcd.parsed()),
        prefix=new.etcd.prefix,
        ca=ca.decode(),
        certificate=certificate.decode(),
        key=key.decode(),
        handed_over=new.hand_over or not key,
    )


def _found(new: NewCluster, access: StoreAccess) -> tuple[Founding, IdentityPems]:
    """Make the cluster's authorities and the first node's certificate."""
    from quorate.peers.authority import create_authority, issue_node, new_request

    now, instance_id, machine = datetime.now(UTC), str(uuid.uuid4()), new.machine
    nodes = create_authority("quorate nodes", instance_id, now)
    users = create_authority("quorate users", instance_id, now)
    key, request = new_request(machine.name)
    certificate = issue_node(nodes, request, FIRST_NODE, instance_id, machine.hosts, now)
    founding = Founding(
        name=new.name,
        instance_id=instance_id,
        core_group=GroupId(str(uuid.uuid4())),
        name_resource=ResourceId(str(uuid.uuid4())),
        node_name=machine.name,
        nodes_authority=AuthorityRecord(nodes.certificate_pem.decode(), nodes.key_pem.decode()),
        users_authority=AuthorityRecord(users.certificate_pem.decode(), users.key_pem.decode()),
        store_access=access if access.handed_over else replace(access, certificate="", key=""),
    )
    return founding, IdentityPems(key, certificate, nodes.certificate_pem, users.certificate_pem)


async def _commit(database: ClusterDatabase, founding: Founding, new: NewCluster) -> None:
    """Write the cluster. When no answer comes, find out what became of it: nobody else writes our instance id."""
    deadline = time.monotonic() + SETTLING
    asked = False
    while True:
        try:
            if asked and await database.members.instance_id() == founding.instance_id:
                return
            asked = True
            await database.members.found(founding, _events(founding))
        except StoreUnavailable as error:
            if time.monotonic() > deadline:
                raise _unknown(new, error) from error
            await asyncio.sleep(0.5)
        except RefusalError:
            if await database.members.instance_id() != founding.instance_id:
                raise
            return
        else:
            return


def _events(founding: Founding) -> tuple[EventRecord, ...]:
    actor, now = account_name(), datetime.now(UTC)
    return (
        EventRecord.of(
            EventKind.CLUSTER_CREATED,
            time=now,
            node=FIRST_NODE,
            object_id=founding.instance_id,
            object_name=founding.name,
            sentence=f"the cluster {founding.name} was made, with {founding.node_name} as its first node",
            actor=actor,
        ),
        EventRecord.of(
            EventKind.NODE_ADDED,
            time=now,
            node=FIRST_NODE,
            object_id=FIRST_NODE,
            object_name=founding.node_name,
            sentence=f"{founding.node_name} is node 1 of the new cluster",
            actor=actor,
        ),
    )


def _taken(new: NewCluster) -> RefusalError:
    return RefusalError(
        Status.ERROR_CLUSTER_CANT_CREATE_DUP_CLUSTER_NAME,
        f"there is a cluster {new.name!r} in this etcd already: choose another name, or let this machine join it with "
        '"quorate node join"',
    )


def _unknown(new: NewCluster, error: StoreUnavailable) -> FaultError:
    return FaultError(
        Status.ERROR_TIMEOUT,
        f"etcd fell silent while the cluster was written, and it is not known whether it was ({error.sentence}); "
        f"nothing is left on this machine. If a later try finds that there is a cluster {new.name!r}, delete what "
        f"is below {new.etcd.prefix!r} in etcd first",
    )


def account_name() -> str:
    """Who types."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
