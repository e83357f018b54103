"""Entries of enumerations: one {type, id, name} per object that the mask asks for."""

from collections.abc import Iterable
from typing import Protocol

from quorate.clusapi.json_types import JsonObject


class Named(Protocol):
    """Whatever has an id and a name."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def name(self) -> str:
        """Its name."""
        ...


def entry(type_: int, id_: str, name: str) -> JsonObject:
    """One entry."""
    return {"type": int(type_), "id": id_, "name": name}


def fitting(mask: int, type_: int, objects: Iterable[Named]) -> tuple[JsonObject, ...]:
    """The entries of one type, by name; none when the mask does not ask for the type."""
    if not mask & type_:
        return ()
    ordered = sorted(objects, key=lambda item: item.name.casefold())
    return tuple(entry(type_, item.id, item.name) for item in ordered)
