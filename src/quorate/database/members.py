"""Who is in the cluster: it is founded, machines are admitted and evicted, and its functional level is raised.

Every method is one transaction, with the events that tell of it: whoever is interrupted leaves all or nothing behind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import GroupId, NodeId, ResourceId
from quorate.clusapi.status import Status
from quorate.clusapi.versions import PROGRAM_LEVELS, UPGRADE_VERSION, LevelRange
from quorate.database import keys
from quorate.database.contract import Record, Store
from quorate.database.creation import plan_cluster, plan_group_owner
from quorate.database.documents import write_document
from quorate.database.events import EventLog
from quorate.database.levels import LEVEL, check_level, level_of, level_values, levels_of
from quorate.database.member_records import AuthorityRecord, EvictedNode, JoinToken, StoreAccess
from quorate.database.new_node import NODE_COUNTER, plan_new_node
from quorate.database.plan import Plan, check_name, commit_until_done
from quorate.database.records import Ownership, RunState, Versioned
from quorate.database.values import KeyRecord, RegistryValue, RegistryValues

Events = Sequence[EventRecord]
NodeEvent = Callable[[NodeId], EventRecord]
"""Makes the event of a node whose number is known only when it is written."""
FORGET_TOKENS = timedelta(days=1)
"""How long an expired token is remembered: whoever tries it shall hear that it is expired, not that it is none."""


@dataclass(frozen=True, slots=True)
class Founding:
    """What a new cluster begins with."""

    name: str
    instance_id: str
    core_group: GroupId
    name_resource: ResourceId
    node_name: str
    nodes_authority: AuthorityRecord
    users_authority: AuthorityRecord
    store_access: StoreAccess
    levels: LevelRange = PROGRAM_LEVELS


@dataclass(frozen=True, slots=True)
class Applicant:
    """A machine that has shown a token: what it calls itself, the hash of its key, and the levels that it knows."""

    name: str
    machine: str
    levels: LevelRange


@dataclass(frozen=True, slots=True)
class Eviction:
    """What leaves with a node: its note, and the groups without resources that go to an heir."""

    node: NodeId
    note: EvictedNode
    heir: NodeId
    closed_at: int
    """What ``close_doors`` has answered."""
    groups: Sequence[GroupId] = ()
    lease: int | None = None
    """The revision of its lease record that was judged to be over, 0 for none; None: the node itself has let it go."""


class Members:
    """Changes of the membership. Part of ``ClusterDatabase``."""

    def __init__(self, store: Store, log: EventLog) -> None:
        """Work on this store."""
        self._store = store
        self._log = log

    # --- The founding ------------------------------------------------------------------------------------------------

    async def found(self, founding: Founding, events: Events = ()) -> NodeId:
        """Make a cluster with its first node, all in one transaction.

        Raises RefusalError ERROR_CLUSTER_CANT_CREATE_DUP_CLUSTER_NAME when there is one, CallerError for a bad name.
        """
        check_name("cluster", founding.name)
        plan = Plan()
        properties = {
            LEVEL: RegistryValue.dword(founding.levels.highest),
            "ClusterUpgradeVersion": RegistryValue.dword(UPGRADE_VERSION),
        }
        ids = founding.instance_id, founding.core_group, founding.name_resource
        plan_cluster(plan, founding.name, *ids, properties)
        node = await plan_new_node(plan, self._store, founding.node_name, level_values(founding.levels))
        plan_group_owner(plan, founding.core_group, node, RunState(persistent_state=True, default_owner=node))
        plan.create(keys.NODES_AUTHORITY, founding.nodes_authority.encode())
        plan.create(keys.USERS_AUTHORITY, founding.users_authority.encode())
        plan.create(keys.STORE_ACCESS, founding.store_access.encode())
        self._log.add(plan, events)
        plan.claims.clear()  # when a name is taken all is: there is a cluster
        if not (await plan.commit(self._store)).succeeded:
            raise RefusalError(
                Status.ERROR_CLUSTER_CANT_CREATE_DUP_CLUSTER_NAME,
                f"there is a cluster {founding.name!r} in this etcd already: choose another name, or join that one",
            )
        return node

    async def instance_id(self) -> str | None:
        """The id of the cluster that is in this store; None when there is none."""
        if await self._store.get(keys.SCHEMA) is None:
            return None
        root = await self._store.get(keys.registry_key(keys.CLUSTER))
        return "" if root is None else values_of(root).text("ClusterInstanceID")

    async def store_access(self) -> StoreAccess:
        """How etcd is reached. Raises RefusalError 5059 for a cluster that lives on one machine."""
        record = await self._store.get(keys.STORE_ACCESS)
        if record is None:
            raise RefusalError(
                Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT,
                'this cluster lives on one machine, and no other can join; "quorate cluster create" makes another',
            )
        return StoreAccess.decode(record.value)

    # --- Admission ---------------------------------------------------------------------------------------------------

    async def add_token(self, id_: str, token: JoinToken, now: datetime, events: Events = ()) -> None:
        """Keep a new token; those that expired long ago are forgotten."""
        plan = Plan()
        plan.create(keys.token(id_), token.encode())
        old = [
            record
            for record in (await self._store.range(keys.TOKENS)).records
            if JoinToken.decode(record.value).expires + FORGET_TOKENS < now
        ]
        for record in old[:64]:
            plan.remove(record.key)
        self._log.add(plan, events)
        await plan.commit(self._store)

    async def token(self, id_: str) -> Versioned[JoinToken] | None:
        """A token that was made; None for one that nobody made, or that is forgotten."""
        record = await self._store.get(keys.token(id_))
        return None if record is None else Versioned(JoinToken.decode(record.value), record.revision)

    async def admit(
        self, applicant: Applicant, token_id: str, token: Versioned[JoinToken], event_of: NodeEvent
    ) -> NodeId:
        """Add a node and mark the token as used by its machine.

        Raises RefusalError: ERROR_CLUSTER_OBJECT_ALREADY_USED when the token was used meanwhile, and what
        ``check_level`` raises when the cluster's level is none that the node knows; CallerError:
        ERROR_CLUSTER_NODE_EXISTS, ERROR_INVALID_NAME.
        """

        async def plan() -> tuple[Plan, NodeId]:
            planned = Plan()
            current = await self._store.get(keys.token(token_id))
            if current is None or current.revision != token.revision:
                raise RefusalError(Status.ERROR_CLUSTER_OBJECT_ALREADY_USED, "the token was used a moment ago")
            root = await self._root()
            check_level(applicant.levels, level_of(values_of(root)), f"the program of {applicant.name!r}")
            planned.expect(root)
            node = await plan_new_node(planned, self._store, applicant.name, level_values(applicant.levels))
            planned.replace(current, token.value.used_by(node, applicant.machine).encode())
            self._log.add(planned, (event_of(node),))
            return planned, node

        try:
            return (await commit_until_done(self._store, plan))[1]
        except CallerError as error:
            if error.status is Status.ERROR_OBJECT_ALREADY_EXISTS:
                sentence = f"the cluster has a node {applicant.name!r} already: choose another name"
                raise CallerError(Status.ERROR_CLUSTER_NODE_EXISTS, sentence) from error
            raise

    # --- Eviction ----------------------------------------------------------------------------------------------------

    async def close_doors(self, node: NodeId) -> int:
        """Let nobody give the node a group from now on (I3, I4: what it was given could not be taken from it in time).

        Answers what the eviction must name, and ``open_doors`` if there is to be none.
        """
        plan = Plan()
        plan.put(keys.leaving(node), write_document(1, {}, {}))
        return (await plan.commit(self._store)).revision

    async def open_doors(self, node: NodeId, closed_at: int) -> None:
        """Take the word of ``close_doors`` back, unless somebody else has said it again."""
        plan = Plan()
        plan.compares[keys.leaving(node)] = closed_at
        plan.remove(keys.leaving(node))
        await plan.commit(self._store)

    async def evict(self, eviction: Eviction, events: Events = ()) -> None:
        """Take a node out of the cluster: its key, name, lease and facts; its number is never given again.

        Raises CallerError ERROR_CLUSTER_NODE_NOT_FOUND; RefusalError ERROR_RETRY when its doors are open again, or it
        has a lease again.
        """
        path = keys.node_path(eviction.node)

        async def plan() -> tuple[Plan, None]:
            planned = Plan()
            node = await self._store.get(keys.registry_key(path))
            if node is None:
                raise CallerError(
                    Status.ERROR_CLUSTER_NODE_NOT_FOUND, f"the cluster has no node {eviction.note.name!r} any more"
                )
            doors = await self._store.get(keys.leaving(eviction.node))
            if doors is None or doors.revision != eviction.closed_at:
                sentence = f"somebody else evicts or resumes {eviction.note.name!r} at this moment: look, and try again"
                raise RefusalError(Status.ERROR_RETRY, sentence)
            lease = await self._store.get(keys.lease(eviction.node))
            if eviction.lease not in (None, 0 if lease is None else lease.revision):
                sentence = f"{eviction.note.name} has come back at this moment: look, and try again"
                raise RefusalError(Status.ERROR_RETRY, sentence)
            if eviction.lease is not None:
                planned.compares[keys.lease(eviction.node)] = eviction.lease
            planned.delete(doors)
            planned.delete(node)
            for below in (await self._store.range(keys.registry_key(path) + "/")).records:
                planned.delete(below)
            planned.remove(keys.name_index("node", eviction.note.name))
            planned.remove(keys.lease(eviction.node))
            planned.remove(keys.admission(eviction.node))
            planned.remove(keys.node_facts(eviction.node))
            planned.remove(keys.fence(eviction.node))
            planned.remove(keys.reach(eviction.node))
            planned.put(keys.evicted(eviction.node), eviction.note.encode())
            for group in eviction.groups:
                await self._bequeath(planned, group, eviction)
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def _bequeath(self, planned: Plan, group: GroupId, eviction: Eviction) -> None:
        record = await self._store.get(keys.ownership(group))
        if record is None:
            return
        ownership = Ownership.decode(record.value)
        if ownership.holder == eviction.node:
            planned.replace(record, Ownership(eviction.heir, ownership.epoch + 1).encode())

    async def evicted(self, node: NodeId) -> EvictedNode | None:
        """What is noted of a node that was evicted; None when it was not."""
        record = await self._store.get(keys.evicted(node))
        return None if record is None else EvictedNode.decode(record.value)

    async def last_eviction(self) -> EvictedNode | None:
        """The latest eviction; None when there was none."""
        records = (await self._store.range(keys.EVICTED)).records
        return max((EvictedNode.decode(record.value) for record in records), key=lambda note: note.time, default=None)

    # --- Functional level --------------------------------------------------------------------------------------------

    async def note_levels(self, node: NodeId, levels: LevelRange = PROGRAM_LEVELS) -> None:
        """Note which levels a node's program knows, before it takes part.

        Raises RefusalError when the cluster's level is none of them, or the node is in the cluster no more (5052).
        """

        async def plan() -> tuple[Plan, None]:
            planned = Plan()
            root = await self._root()
            check_level(levels, level_of(values_of(root)), "this program")
            record = await self._store.get(keys.registry_key(keys.node_path(node)))
            if record is None:
                raise await self.not_a_member(node)
            key = KeyRecord.decode(record.value)
            values = key.values.changed(level_values(levels))
            if values != key.values:
                planned.expect(root)
                planned.replace(record, KeyRecord(key.name, values, key.extra).encode())
            return planned, None

        await commit_until_done(self._store, plan)

    async def not_a_member(self, node: NodeId) -> RefusalError:
        """What is said to the daemon of a node that the cluster has not, or has no more."""
        note = await self.evicted(node)
        if note is None:
            sentence = f"the cluster has no node with the number {node}: this is not the database that it was made in"
        else:
            by = f" by {note.actor}" if note.actor else ""
            sentence = (
                f"{note.name} was evicted from the cluster at {note.time:%Y-%m-%d %H:%M:%S} UTC{by}; to join it again, "
                'remove its state directory and use "quorate node join" with a new token'
            )
        return RefusalError(Status.ERROR_CLUSTER_NODE_NOT_MEMBER, sentence)

    async def raise_level(self, old: int, new: int, events: Events = ()) -> None:
        """Raise the cluster's level from ``old`` to ``new``, which every node must know.

        Raises RefusalError ERROR_CLUSTER_SYSTEM_CONFIG_CHANGED when that is not so, or not so any more.
        """
        planned = Plan()
        root, numbers = await self._root(), await self._store.get(keys.counter(NODE_COUNTER))
        prefix = keys.registry_key(keys.NODES) + "/"
        nodes = [r for r in (await self._store.range(prefix)).records if "/" not in r.key[len(prefix) :]]
        for record in (*nodes, *(() if numbers is None else (numbers,))):  # the counter: nobody joins meanwhile
            planned.expect(record)
        key = KeyRecord.decode(root.value)
        values = key.values.changed({LEVEL: RegistryValue.dword(new)})
        planned.replace(root, KeyRecord(key.name, values, key.extra).encode())
        self._log.add(planned, events)
        fits = level_of(key.values) == old and all(new in levels_of(values_of(record)) for record in nodes)
        if not fits or not (await planned.commit(self._store)).succeeded:
            sentence = "the cluster or one of its nodes changed meanwhile: nothing was raised; try again"
            raise RefusalError(Status.ERROR_CLUSTER_SYSTEM_CONFIG_CHANGED, sentence)

    async def _root(self) -> Record:
        record = await self._store.get(keys.registry_key(keys.CLUSTER))
        if record is None:
            raise RefusalError(Status.ERROR_CLUSTER_NOT_INSTALLED, "this database holds no cluster yet")
        return record


def values_of(record: Record) -> RegistryValues:
    """The values of a registry key's record."""
    return KeyRecord.decode(record.value).values
