"""Looking after an etcd: its members' health and size, its alarms, and forgetting old changes."""

import asyncio
import http.client
import re
import ssl
from typing import Final, TypeAlias

from quorate.database.contract import StoreUnavailable
from quorate.database.etcd import messages as etcd
from quorate.database.etcd.attempts import Call
from quorate.database.etcd.failures import EtcdFailure
from quorate.database.etcd.messages import AlarmType, Method
from quorate.database.etcd.settings import Endpoint, EtcdSettings
from quorate.database.etcd.store import EtcdStore
from quorate.database.maintenance import StoreMember, StoreStatus

_STATUS_WAIT: Final = 1.0
_METRICS_WAIT: Final = 1.0
_DEFRAGMENT_WAIT: Final = 120.0
_QUOTA: Final = re.compile(rb"^etcd_server_quota_backend_bytes (\S+)$", re.MULTILINE)
_ALARMS: Final[dict[int, str]] = {
    AlarmType.NOSPACE: "its database has reached its quota, and etcd refuses writes until it is compacted and"
    " defragmented and the alarm is disarmed (etcdctl alarm disarm)",
    AlarmType.CORRUPT: "its data differ from those of the other members",
}

_Status: TypeAlias = etcd.StatusResponse | EtcdFailure


class EtcdMaintenance:
    """Looks after the etcd of a store, over the store's own connections."""

    def __init__(self, store: EtcdStore) -> None:
        """The store stays the caller's to close."""
        self._client = store.client
        self._quota: int | None = None  # a member does not change it while it runs; asked for once

    async def status(self) -> StoreStatus:
        """Ask every endpoint how it is doing. Raises StoreUnavailable when etcd has no quorum."""
        client = self._client
        revision = await client.run(client.space.revision())
        names = await self._names()
        alarms = await self._alarms(names)
        statuses = await asyncio.gather(*(self._status(index) for index in range(len(client.links))))
        known = [status for status in statuses if isinstance(status, etcd.StatusResponse)]
        return StoreStatus(
            revision=revision,
            size_bytes=max((status.db_size for status in known), default=0),
            in_use_bytes=max((status.db_size_in_use for status in known), default=0),
            quota_bytes=await self._find_quota(known),
            alarms=alarms,
            members=tuple(
                _member(endpoint, status, names)
                for endpoint, status in zip(client.rotation.endpoints, statuses, strict=True)
            ),
        )

    async def compact(self, revision: int) -> None:
        """Forget the changes up to a revision, everybody's who shares this etcd.

        The space is free for what is written next soon after, not at once: etcd compacts beside its other work.
        """
        await self._client.run(self._client.space.compact(revision))

    async def defragment(self) -> None:
        """Defragment the members one after the other, the leader last: each answers nobody meanwhile."""
        client = self._client
        statuses = [await self._status(index) for index in range(len(client.links))]
        for index in sorted(range(len(statuses)), key=lambda index: _leads(statuses[index])):
            request = etcd.DefragmentRequest().encode()
            try:
                await client.links[index].call(Method.DEFRAGMENT, request, _DEFRAGMENT_WAIT)
            except EtcdFailure as failure:
                endpoint = client.rotation.endpoints[index]
                raise StoreUnavailable(f"{endpoint} was not defragmented: {failure.reason}") from None

    # --- Parts -----------------------------------------------------------------------------------------------------

    async def _status(self, index: int) -> _Status:
        request = etcd.StatusRequest().encode()
        try:
            answer = await self._client.links[index].call(Method.STATUS, request, _STATUS_WAIT)
        except EtcdFailure as failure:
            return failure
        return etcd.StatusResponse.decode(answer)

    async def _names(self) -> dict[int, str]:
        answer = await self._client.ask(Call(Method.MEMBER_LIST, etcd.MemberListRequest().encode()))
        return {member.id: member.name for member in etcd.MemberListResponse.decode(answer).members}

    async def _alarms(self, names: dict[int, str]) -> tuple[str, ...]:
        answer = await self._client.ask(Call(Method.ALARM, etcd.AlarmRequest().encode()))
        return tuple(
            f"etcd's member {names.get(alarm.member_id) or format(alarm.member_id, 'x')}: "
            + _ALARMS.get(alarm.alarm, f"alarm {alarm.alarm}")
            for alarm in etcd.AlarmResponse.decode(answer).alarms
        )

    async def _find_quota(self, known: list[etcd.StatusResponse]) -> int | None:
        """The smallest quota: from etcd 3.6 on in the status, before only among the metrics that a member serves."""
        quotas = [status.db_size_quota for status in known if status.db_size_quota]
        if quotas:
            return min(quotas)
        if self._quota is None:
            endpoint = self._client.rotation.endpoints[self._client.rotation.current]
            self._quota = await asyncio.to_thread(_quota_from_metrics, endpoint, self._client.settings)
        return self._quota


def _member(endpoint: Endpoint, status: _Status, names: dict[int, str]) -> StoreMember:
    if isinstance(status, EtcdFailure):
        return StoreMember("", str(endpoint), is_healthy=False, is_leader=False, sentence=status.reason)
    name = names.get(status.header.member_id, "") if status.header else ""
    if not status.leader:
        return StoreMember(name, str(endpoint), is_healthy=False, is_leader=False, sentence="it knows of no leader")
    return StoreMember(
        name,
        str(endpoint),
        is_healthy=not status.errors,
        is_leader=_leads(status),
        sentence="; ".join(status.errors) or f"etcd {status.version}, {status.db_size / (1 << 20):.1f} MiB",
    )


def _leads(status: _Status) -> bool:
    if isinstance(status, EtcdFailure) or status.header is None:
        return False
    return status.header.member_id == status.leader


def _quota_from_metrics(endpoint: Endpoint, settings: EtcdSettings) -> int | None:
    if endpoint.is_tls:
        context = ssl.create_default_context(cafile=settings.ca)
        if settings.cert is not None:
            context.load_cert_chain(settings.cert, settings.key)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            endpoint.host, endpoint.port, timeout=_METRICS_WAIT, context=context
        )
    else:
        connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=_METRICS_WAIT)
    try:
        connection.request("GET", "/metrics")
        found = _QUOTA.search(connection.getresponse().read())
        return None if found is None else int(float(found[1]))
    except (OSError, http.client.HTTPException, ValueError):
        return None  # it is only told to people; the alarm does not depend on it
    finally:
        connection.close()
