"""Writes group sets, and what groups wait for. ``ClusterDatabase.group_sets``.

All changes of the order touch the key GroupSets: of two at once one is planned anew, so that both together never make a
circle.
"""

from collections.abc import Callable, Mapping, Sequence

from quorate.clusapi.dependencies import resources_of
from quorate.clusapi.errors import RefusalError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import GroupSetId, ResourceId
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.administration import changed_key
from quorate.database.contract import Store
from quorate.database.events import EventLog
from quorate.database.plan import Plan, commit_until_done
from quorate.database.registry import ValueChanges
from quorate.database.snapshot import ClusterSnapshot
from quorate.database.snapshot_builder import SnapshotBuilder
from quorate.database.values import RegistryValue

Events = Sequence[EventRecord]


class GroupSetRecords:
    """Everything about group sets in the database."""

    def __init__(self, store: Store, log: EventLog) -> None:
        """Write into this store."""
        self._store = store
        self._log = log

    async def create(self, group_set: GroupSetId, name: str, *, events: Events = ()) -> None:
        """Make an empty group set. Raises CallerError ERROR_OBJECT_ALREADY_EXISTS, ERROR_INVALID_NAME."""

        async def plan() -> tuple[Plan, None]:
            planned = Plan()
            await self._touch(planned)
            planned.claim_name("group set", name, group_set)
            planned.create_key(keys.group_set_path(group_set), {"Name": RegistryValue.sz(name)})
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def delete(self, group_set: GroupSetId, *, events: Events = ()) -> None:
        """Delete a group set; its groups stay.

        Raises CallerError ERROR_GROUPSET_NOT_FOUND, RefusalError ERROR_DEPENDENT_RESOURCE_EXISTS.
        """

        async def plan() -> tuple[Plan, None]:
            planned = Plan()
            await self._touch(planned)
            snapshot = await self._snapshot()
            info = snapshot.group_set(group_set)
            needed = ResourceId(info.id)
            waiting = [one.name for one in snapshot.group_sets.values() if needed in resources_of(one.needs)]
            waiting += [one.name for one in snapshot.groups.values() if info.id in one.provider_sets]
            if waiting:
                sentence = f'"{waiting[0]}" depends on the group set "{info.name}": remove that dependency first'
                raise RefusalError(Status.ERROR_DEPENDENT_RESOURCE_EXISTS, sentence)
            key = keys.registry_key(keys.group_set_path(info.id))
            planned.compares[key] = info.revision
            planned.remove(key)
            for below in (await self._store.range(f"{key}/")).records:
                planned.delete(below)
            planned.remove(keys.name_index("group set", info.name))
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def change(
        self, plan_changes: Callable[[ClusterSnapshot], Mapping[str, ValueChanges]], *, events: Events = ()
    ) -> None:
        """Change values of the keys of groups and sets, by path, all or none.

        ``plan_changes`` says what changes, or refuses, on a snapshot whose order stands until it is written.
        """

        async def plan() -> tuple[Plan, None]:
            planned = Plan()
            await self._touch(planned)
            for path, values in plan_changes(await self._snapshot()).items():
                record = await self._store.get(keys.registry_key(path))
                if record is None:
                    raise RefusalError(Status.ERROR_RETRY, f"{path!r} is being deleted by somebody else")
                planned.replace(record, changed_key(record, values))
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def _snapshot(self) -> ClusterSnapshot:
        return SnapshotBuilder(await self._store.range(*SnapshotBuilder.PREFIXES)).build()

    async def _touch(self, planned: Plan) -> None:
        """Before anything is read: what is planned holds only while nobody else changes the order."""
        record = await self._store.get(keys.registry_key(keys.GROUP_SETS))
        if record is None:
            planned.create_key(keys.GROUP_SETS)
        else:
            planned.replace(record, changed_key(record, {}))
