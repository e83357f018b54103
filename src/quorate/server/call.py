"""What a handler is given."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.operation_values import Values
from quorate.database.snapshot import ClusterSnapshot
from quorate.server.services import CallContext, NodeServices


@dataclass(frozen=True, slots=True)
class Call:
    """One call on the node that carries it out; ``snapshot`` is the cluster as routing saw it."""

    services: NodeServices
    context: CallContext
    inputs: Values
    snapshot: ClusterSnapshot
    again: Callable[[str, Values], Awaitable[Values]]  # another operation on the caller's behalf
    owner_is_down: bool = False  # answered here from the database, since the owner cannot

    def event(
        self,
        kind: EventKind,
        object_id: str,
        object_name: str,
        sentence: str,
        after: JsonValue = None,
        before: JsonValue = None,
    ) -> EventRecord:
        """An event that this call causes, to be written in the transaction that makes it true."""
        return EventRecord.of(
            kind,
            time=datetime.now(UTC),
            node=self.services.node_id,
            object_id=object_id,
            object_name=object_name,
            sentence=sentence,
            before=before,
            after=after,
            actor=self.context.actor,
            operation_id=self.context.operation_id,
        )


Handler: TypeAlias = Callable[[Call], Awaitable[Values]]


def done(status: int = 0) -> Values:
    """The answer of an operation that tells a status and nothing more."""
    return Values({"status": int(status)})
