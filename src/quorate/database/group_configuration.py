"""A change of a group's common properties, wherever each of them is kept."""

from dataclasses import dataclass, field, replace

from quorate.clusapi.identity import NodeId
from quorate.database.records import RunState
from quorate.database.registry import ValueChanges


@dataclass(frozen=True, slots=True)
class GroupConfiguration:
    """What is to change; None stays as it is."""

    values: ValueChanges = field(default_factory=dict)  # of the group's registry key
    name: str | None = None
    persistent_state: bool | None = None
    default_owner: NodeId | None = None  # the empty text: no node

    def applied_to(self, run: RunState) -> RunState:
        """The run state after the change."""
        owner = run.default_owner if self.default_owner is None else self.default_owner or None
        persistent = run.persistent_state if self.persistent_state is None else self.persistent_state
        return replace(run, default_owner=owner, persistent_state=persistent)
