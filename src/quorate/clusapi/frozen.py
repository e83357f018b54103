"""Changing what does not change: another frozen dataclass that differs in a few fields.

Brains do nothing else with their states. `dataclasses.replace` asks about every field, and writes each one by its name;
this one knows where the fields of a class lie, which takes less than half the time.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import replace as replace  # it is typed by field, which nobody else can say
else:
    _Slot = tuple[Callable[[object], Any], Callable[[object, Any], None]]
    _slots: dict[type, dict[str, _Slot]] = {}

    def replace(of, /, **changes):
        """Give an object of the same class with these fields changed.

        For dataclasses with slots, and none whose making does more than keep what it was given; others are made by
        `dataclasses.replace`. Raises TypeError for what is no field of it.
        """
        kind = of.__class__
        slots = _slots.get(kind)
        if slots is None:
            slots = _slots[kind] = _slots_of(kind)
        if not slots or not changes.keys() <= slots.keys():
            return dataclasses.replace(of, **changes)
        new = object.__new__(kind)
        for name, (read, write) in slots.items():
            write(new, changes[name] if name in changes else read(of))
        return new

    def _slots_of(kind):
        """Where the fields of a class lie, by their names; nothing if it must be made in the usual way."""
        fields = dataclasses.fields(kind)
        if hasattr(kind, "__post_init__") or not all(field.init for field in fields):
            return {}
        places = {field.name: getattr(kind, field.name, None) for field in fields}
        if not all(hasattr(place, "__set__") for place in places.values()):
            return {}  # it has a dictionary, or keeps fields in some other way
        return {name: (place.__get__, place.__set__) for name, place in places.items()}
