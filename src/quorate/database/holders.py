"""Which groups each node holds, by the newest records of ownership that were shown: a change costs what has changed."""

from collections.abc import Set as AbstractSet
from typing import Final

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.rows import Rows
from quorate.database.records import Ownership, Versioned

_NONE: Final[frozenset[GroupId]] = frozenset()


class Holders:
    """Follows versions of the records of ownership; going back to an earlier one costs as much as going forward."""

    def __init__(self) -> None:
        """Know of no record."""
        self._ownership: Rows[GroupId, Versioned[Ownership]] = Rows()
        self._holder: dict[GroupId, NodeId] = {}
        self._groups: dict[NodeId, set[GroupId]] = {}

    def groups_of(self, node: NodeId, ownership: Rows[GroupId, Versioned[Ownership]]) -> AbstractSet[GroupId]:
        """Give the groups that a node holds by these records, in no order; it changes when this is asked again."""
        self._follow(ownership)
        return self._groups.get(node, _NONE)

    def _follow(self, ownership: Rows[GroupId, Versioned[Ownership]]) -> None:
        if ownership is self._ownership:
            return
        for group in ownership.differences(self._ownership):
            before, record = self._holder.pop(group, None), ownership.get(group)
            if before is not None:
                self._groups[before].discard(group)
            if record is not None:
                self._holder[group] = record.value.holder
                self._groups.setdefault(record.value.holder, set()).add(group)
        self._ownership = ownership
