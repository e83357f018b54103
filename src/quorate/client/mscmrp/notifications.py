"""Events from a notification port of version 2, as records of events: the protocol tells what has changed, not why.

Source: [MS-CMRP] 3.1.4.2.136 to 3.1.4.2.138, 2.2.2.13 to 2.2.2.20.
"""

from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from typing import Final

from quorate.client.mscmrp.session import Session, refusal
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject
from quorate.mscmrp import notify_methods as n
from quorate.mscmrp.shapes import HandleIn, NoIn
from quorate.mscmrp.types import NotificationData, NotifyFilter

_CLUSTER: Final = 1
_VERSION: Final = 1
_K = EventKind
_GONE: Final = "was deleted"
_SET: Final = "has other properties"
_OTHER_STATE: Final = "has another state"

_NAME: Final = "{name}"
"""Stands in words that are about another object than the one that was watched: it is named then."""

_Table = Mapping[int, tuple[EventKind, str]]
_NETWORK_TABLE: Final[_Table] = {
    0x1: (_K.NETWORK_DELETED, _GONE),
    0x2: (_K.NETWORK_PROPERTY, _SET),
    0x4: (_K.NETWORK_PROPERTY, _SET),
    0x8: (_K.NETWORK_STATE, _OTHER_STATE),
}
_TABLES: Final[Mapping[int, tuple[str, _Table]]] = {
    _CLUSTER: (
        "the cluster",
        {
            0x1: (_K.CLUSTER_PROPERTY, "was lost for a while"),
            0x2: (_K.CLUSTER_PROPERTY, _OTHER_STATE),
            0x4: (_K.GROUP_ADDED, 'group "{name}" is new'),
            0x10: (_K.NETWORK_ADDED, 'network "{name}" is new'),
            0x20: (_K.NODE_ADDED, 'node "{name}" is new'),
            0x40: (_K.RESOURCE_TYPE_ADDED, 'resource type "{name}" is new'),
            0x80: (_K.CLUSTER_PROPERTY, _SET),
            0x100: (_K.CLUSTER_PROPERTY, _SET),
            0x200: (_K.CLUSTER_PROPERTY, "has told more than could be heard: events were lost"),
            0x400: (_K.CLUSTER_PROPERTY, "has another name"),
            0x800: (_K.CLUSTER_PROPERTY, "has other members"),
            0x1000: (_K.CLUSTER_UPGRADED, "has another functional level"),
        },
    ),
    2: (
        "group",
        {
            0x1: (_K.GROUP_DELETED, _GONE),
            0x2: (_K.GROUP_PROPERTY, _SET),
            0x4: (_K.GROUP_PROPERTY, _SET),
            0x8: (_K.GROUP_STATE, _OTHER_STATE),
            0x10: (_K.GROUP_OWNER, "has another owner"),
            0x20: (_K.GROUP_PROPERTY, "prefers other nodes"),
            0x40: (_K.RESOURCE_ADDED, 'resource "{name}" is new'),
            0x80: (_K.RESOURCE_PROPERTY, 'resource "{name}" came into a group'),
            0x100: (_K.RESOURCE_PROPERTY, 'resource "{name}" left a group'),
        },
    ),
    3: (
        "resource",
        {
            0x1: (_K.RESOURCE_PROPERTY, _SET),
            0x2: (_K.RESOURCE_PROPERTY, "has other private properties"),
            0x4: (_K.RESOURCE_STATE, _OTHER_STATE),
            0x8: (_K.RESOURCE_PROPERTY, "is in another group"),
            0x10: (_K.RESOURCE_PROPERTY, "depends on others"),
            0x20: (_K.RESOURCE_PROPERTY, "has other dependents"),
            0x40: (_K.RESOURCE_PROPERTY, "has other possible owners"),
            0x80: (_K.RESOURCE_DELETED, _GONE),
            0x100: (_K.RESOURCE_PROPERTY, "has another implementation"),
            0x400: (_K.RESOURCE_STATE, "is where it stays"),
        },
    ),
    4: (
        "resource type",
        {
            0x1: (_K.RESOURCE_TYPE_DELETED, _GONE),
            0x2: (_K.CLUSTER_PROPERTY, _SET),
            0x4: (_K.CLUSTER_PROPERTY, _SET),
            0x8: (_K.CLUSTER_PROPERTY, "has other possible owners"),
        },
    ),
    5: (
        "network interface",
        {
            0x1: (_K.NETINTERFACE_DELETED, _GONE),
            0x2: (_K.NETINTERFACE_PROPERTY, _SET),
            0x4: (_K.NETINTERFACE_PROPERTY, _SET),
            0x8: (_K.NETINTERFACE_STATE, _OTHER_STATE),
        },
    ),
    6: ("network", _NETWORK_TABLE),
    7: (
        "node",
        {
            0x1: (_K.NETINTERFACE_ADDED, 'network interface "{name}" is new'),
            0x2: (_K.NODE_EVICTED, _GONE),
            0x4: (_K.NODE_PROPERTY, _SET),
            0x8: (_K.NODE_PROPERTY, _SET),
            0x10: (_K.NODE_STATE, _OTHER_STATE),
            0x20: (_K.GROUP_OWNER, "was given a group"),
            0x40: (_K.GROUP_OWNER, "lost a group"),
        },
    ),
}


async def notifications(session: Session, filters: Mapping[str, str]) -> AsyncGenerator[JsonObject, None]:
    """Events from now on, for ever, as far as they are of the kind and the object that are asked for.

    Raises ClusterError when the server does not notify, and when the connection breaks.
    """
    sequence = 0
    port = (await session.call(n.CREATE_NOTIFY_V2, NoIn(), "the notification port")).handle
    async with session.cluster() as cluster:
        for object_type, (_, table) in _TABLES.items():
            wanted = NotifyFilter(object_type, sum(table))
            asked = n.AddNotifyV2In(port, cluster, wanted, object_type, _VERSION, False)
            await session.call(n.ADD_NOTIFY_V2, asked, "the notification port")
        while True:
            told = await session.ask(n.GET_NOTIFY_V2, HandleIn(port), within=None)
            if told.status:
                raise refusal(told.status, "the notification port")
            for item in told.notifications or ():
                for event in _events(item.data):
                    if _is_wanted(event, filters):
                        sequence += 1
                        yield event.stored_at(sequence).to_json()


def _events(data: NotificationData) -> list[EventRecord]:
    """One event for each flag that is known."""
    word, table = _TABLES.get(data.filter.object_type, ("", {}))
    name = data.name or data.object_id or ""
    subject = word if data.filter.object_type == _CLUSTER else f'{word} "{name}"'
    return [
        EventRecord.of(
            kind,
            time=datetime.now(UTC),
            node=NodeId(""),
            object_id=data.object_id or "",
            object_name=name,
            sentence=words.format(name=name) if _NAME in words else f"{subject} {words}",
        )
        for flag, (kind, words) in table.items()
        if data.filter.flags & flag
    ]


def _is_wanted(event: EventRecord, filters: Mapping[str, str]) -> bool:
    kind, about = filters.get("kind"), filters.get("object", "").casefold()
    of_kind = kind is None or event.kind == kind or event.kind.startswith(f"{kind}.")
    return of_kind and (not about or about in (event.object_id.casefold(), event.object_name.casefold()))
