"""The groups of a picture, and what decisions ask of all of them: who has which, how much memory is committed where.

A picture is made many times a second, and little has changed since the one before. So these are immutable, and a
version with some groups changed is made of the one before: nothing here goes through all groups but the first time.
"""

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Final, TypeVar, overload

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.rows import Rows

if TYPE_CHECKING:
    from quorate.cluster.picture import GroupPicture

D = TypeVar("D")
_Index = dict[str, frozenset[GroupId]]


class Groups(Mapping[GroupId, "GroupPicture"]):
    """All groups at one moment."""

    __slots__ = ("_by_drain", "_by_owner", "_committed", "_of_classes", "_rank", "_rows")

    def __init__(self, groups: Mapping[GroupId, "GroupPicture"]) -> None:
        """Count them all."""
        self._rows: Rows[GroupId, GroupPicture] = Rows(dict(groups))
        self._rank = {id_: number for number, id_ in enumerate(groups)}
        self._committed: dict[NodeId, int] = {}
        owners: dict[str, list[GroupId]] = {}
        drains: dict[str, list[GroupId]] = {}
        classes: set[GroupId] = set()
        for group in groups.values():
            owners.setdefault(group.owner, []).append(group.id)
            if group.drained:
                drains.setdefault(group.drained, []).append(group.id)
            if group.occupies:
                self._committed[group.owner] = self._committed.get(group.owner, 0) + group.memory
                if group.classes:
                    classes.add(group.id)
        self._by_owner: _Index = {owner: frozenset(ids) for owner, ids in owners.items()}
        self._by_drain: _Index = {drain: frozenset(ids) for drain, ids in drains.items()}
        self._of_classes = frozenset(classes)

    def changed(self, news: Mapping[GroupId, "GroupPicture"]) -> "Groups":
        """Make a version in which some of the groups that are there stand otherwise."""
        if not news:
            return self
        new: Groups = Groups.__new__(Groups)
        new._rank, new._rows = self._rank, self._rows.changed(news)
        new._committed, classes = dict(self._committed), set(self._of_classes)
        new._by_owner, new._by_drain = dict(self._by_owner), dict(self._by_drain)
        for id_, after in news.items():
            before = self._rows[id_]
            _pass_on(new._by_owner, id_, before.owner, after.owner)
            _pass_on(new._by_drain, id_, before.drained, after.drained)
            if before.occupies:
                new._committed[before.owner] -= before.memory
                classes.discard(id_)
            if after.occupies:
                new._committed[after.owner] = new._committed.get(after.owner, 0) + after.memory
                if after.classes:
                    classes.add(id_)
        new._of_classes = frozenset(classes)
        return new

    # --- what is asked -----------------------------------------------------------------------------------------------

    def owned_by(self, node: NodeId) -> "tuple[GroupPicture, ...]":
        """Give the groups that a node holds."""
        return self._in_order(self._by_owner.get(node, _NONE))

    def drained_by(self, drain: str) -> "tuple[GroupPicture, ...]":
        """Give the groups that a drain has moved and that nobody has moved since."""
        return self._in_order(self._by_drain.get(drain, _NONE))

    def committed(self, node: NodeId) -> int:
        """Bytes that the groups commit for which a node keeps a place."""
        return self._committed.get(node, 0)

    def owners(self) -> tuple[NodeId, ...]:
        """Give the nodes that own groups, members or not."""
        return tuple(NodeId(owner) for owner, ids in self._by_owner.items() if ids)

    def of_classes(self) -> "tuple[GroupPicture, ...]":
        """Give the groups with an anti-affinity class for which a place is kept."""
        return self._in_order(self._of_classes)

    def _in_order(self, ids: Iterable[GroupId]) -> "tuple[GroupPicture, ...]":
        return tuple(self._rows[id_] for id_ in sorted(ids, key=self._rank.__getitem__))

    # --- as a mapping ------------------------------------------------------------------------------------------------

    def __getitem__(self, key: GroupId) -> "GroupPicture":
        return self._rows[key]

    @overload
    def get(self, key: GroupId, /) -> "GroupPicture | None": ...
    @overload
    def get(self, key: GroupId, /, default: "GroupPicture | D") -> "GroupPicture | D": ...
    def get(self, key: GroupId, /, default: object = None) -> object:
        """Give a group, or something else where it is not there."""
        return self._rows.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._rank

    def __len__(self) -> int:
        return len(self._rank)

    def __iter__(self) -> Iterator[GroupId]:
        return iter(self._rank)

    def values(self) -> "ValuesView[GroupPicture]":
        """Give the groups."""
        return self._rows.values()

    def items(self) -> "ItemsView[GroupId, GroupPicture]":
        """Give the groups with their ids."""
        return self._rows.items()


_NONE: Final[frozenset[GroupId]] = frozenset()


def _pass_on(index: _Index, group: GroupId, before: str, after: str) -> None:
    if before == after:
        return
    if before:
        index[before] = index[before] - {group}
    if after:
        index[after] = index.get(after, _NONE) | {group}
