"""Properties as servers tell them, read with patience: what is missing, or written otherwise, is not there."""

from contextlib import suppress

from quorate.clusapi.property_lists import Property, PropertyList, PropertyListError, parse_property_list

_NOTHING = bytes(4)


def told_properties(*lists: bytes | None) -> PropertyList:
    """The properties of several lists together; of those that come twice, the first."""
    found: dict[str, Property] = {}
    for data in lists:
        with suppress(PropertyListError):
            for item in parse_property_list(data or _NOTHING):
                found.setdefault(item.name.casefold(), item)
    return PropertyList(tuple(found.values()))


def number_of(properties: PropertyList, name: str) -> int:
    """A number; 0 where it is not there."""
    value = properties.get(name)
    return value if isinstance(value, int) else 0


def text_of(properties: PropertyList, name: str) -> str:
    """A text; empty where it is not there."""
    value = properties.get(name)
    return value if isinstance(value, str) else ""


def texts_of(properties: PropertyList, name: str) -> tuple[str, ...]:
    """Several texts; none where they are not there."""
    value = properties.get(name)
    return tuple(str(item) for item in value) if isinstance(value, tuple) else ()
