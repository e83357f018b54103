"""Writes resource types: made and deleted. ``ClusterDatabase.resource_types``."""

from collections.abc import Sequence

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.resource_types import standard_type
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.contract import Store
from quorate.database.creation import plan_resource_type
from quorate.database.events import EventLog
from quorate.database.plan import Plan, Values, check_name, commit_until_done
from quorate.database.snapshot_builder import SnapshotBuilder


class ResourceTypeRecords:
    """Everything about resource types in the database."""

    def __init__(self, store: Store, log: EventLog) -> None:
        """Write into this store."""
        self._store = store
        self._log = log

    async def create(self, name: str, properties: Values, *, events: Sequence[EventRecord] = ()) -> None:
        """Register a resource type. Raises CallerError ERROR_ALREADY_EXISTS, ERROR_INVALID_NAME."""
        check_name("resource type", name)
        if "\\" in name:
            raise CallerError(
                Status.ERROR_INVALID_NAME, f"{name!r} cannot be the name of a resource type: no backslash"
            )

        async def plan() -> tuple[Plan, None]:
            if await self._store.get(keys.registry_key(keys.resource_type_path(name))) is not None:
                raise CallerError(Status.ERROR_ALREADY_EXISTS, f'there is a resource type "{name}" already')
            planned = Plan()
            plan_resource_type(planned, name, properties, None)
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def delete(self, name: str, *, events: Sequence[EventRecord] = ()) -> None:
        """Delete a resource type.

        Raises CallerError ERROR_CLUSTER_RESOURCE_TYPE_NOT_FOUND; RefusalError ERROR_DIR_NOT_EMPTY while there are
        resources of it, ERROR_CORE_RESOURCE for one that every cluster has.
        """

        async def plan() -> tuple[Plan, None]:
            snapshot = SnapshotBuilder(await self._store.range(*SnapshotBuilder.PREFIXES)).build()
            type_ = snapshot.resource_type(name)
            if standard_type(type_.name) is not None:
                raise RefusalError(Status.ERROR_CORE_RESOURCE, f'every cluster has the resource type "{type_.name}"')
            folded = type_.name.casefold()
            used = [one.name for one in snapshot.resources.values() if one.type.casefold() == folded]
            if used:
                sentence = f'{len(used)} resources are of the type "{type_.name}" ("{used[0]}"): delete them first'
                raise RefusalError(Status.ERROR_DIR_NOT_EMPTY, sentence)
            planned = Plan()
            key = keys.registry_key(keys.resource_type_path(type_.name))
            planned.compares[key] = type_.revision
            planned.remove(key)
            for below in (await self._store.range(f"{key}/")).records:
                planned.delete(below)
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)
