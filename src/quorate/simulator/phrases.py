"""Phrases: lines of words that a person writes, and the frozen dataclasses that they mean, both ways.

A form is written down once, as it reads: ``cut {network:network} {a:name} [from {b:name}] [one way =one_way]``. A word
stands for itself, braces for a field and its kind, brackets for what may be left out: then the field has its default.
``=field`` inside brackets says that these words set the field to True, ``=!field`` to False. What may be left out may
stand in any order. Reading, writing and the words of a refusal all come from the form.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_PIECE: Final = re.compile(r"\[|\]|\{\w+:[\w-]+\}|[^\s\[\]]+")


class PhraseMistake(ValueError):
    """A line that means nothing: a sentence that says what was found and how it is written."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How the value of a field is written as one word."""

    name: str
    """As forms show it: SECONDS."""
    read: Callable[[str], object]
    """Raises ValueError with what would have been right."""
    write: Callable[[object], str]
    is_said: bool = False
    """Written also where it is the default, since a reader would not know it."""


@dataclass(frozen=True, slots=True)
class _Slot:
    field: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class _Extra:
    """What may be left out."""

    parts: tuple["str | _Slot", ...]
    flag: str = ""
    value: bool = True


_Part = str | _Slot | _Extra


@dataclass(frozen=True, slots=True)
class Form:
    """One way to say something, and the class of what it means."""

    make: type
    parts: tuple[_Part, ...]

    @property
    def lead(self) -> tuple[str, ...]:
        """The words with which it begins."""
        words: list[str] = []
        for part in self.parts:
            if not isinstance(part, str):
                break
            words.append(part)
        return tuple(words)

    def __str__(self) -> str:
        return " ".join(_shown(part) for part in self.parts)


def form(make: type, pattern: str, kinds: Mapping[str, Kind]) -> Form:
    """Make a form of its pattern. A pattern that names what the class or the kinds do not have is a KeyError."""
    parts: list[_Part] = []
    extra: list[str | _Slot] | None = None
    flag, value = "", True
    known = {field.name for field in dataclasses.fields(make)}
    for piece in _PIECE.findall(pattern):
        if piece == "[":
            extra, flag, value = [], "", True
        elif piece == "]":
            parts.append(_Extra(tuple(extra or ()), flag, value))
            extra = None
        elif piece.startswith("="):
            value = not piece.startswith("=!")
            flag = piece.lstrip("=!")
            _check_known(flag, known)
        else:
            part: str | _Slot = piece
            if piece.startswith("{"):
                name, _, kind = piece[1:-1].partition(":")
                _check_known(name, known)
                part = _Slot(name, kinds[kind])
            (parts if extra is None else extra).append(part)
    return Form(make, tuple(parts))


def _check_known(field: str, known: set[str]) -> None:
    if field not in known:
        raise KeyError(field)


def read(forms: Iterable[Form], words: Sequence[str]) -> object:
    """Read a line. Raises PhraseMistake, which names the form that was meant or, if none was, all of them."""
    candidates = sorted(forms, key=lambda one: -len(one.lead))
    best: PhraseMistake | None = None
    for candidate in candidates:
        if tuple(words[: len(candidate.lead)]) != candidate.lead:
            continue
        try:
            return _read_as(candidate, words)
        except PhraseMistake as mistake:
            best = best or mistake
    if best is not None:
        raise best
    raise PhraseMistake(_nothing_such(candidates, words))


def write(forms: Iterable[Form], value: object) -> str:
    """Write what a line means as the line. A value of a class that no form makes is a KeyError."""
    for candidate in forms:
        if type(value) is candidate.make:
            return " ".join(_written(candidate, value))
    raise KeyError(type(value).__name__)


def _nothing_such(candidates: Sequence[Form], words: Sequence[str]) -> str:
    leads = sorted(" ".join(candidate.lead) for candidate in candidates)
    said = words[0] if words else "nothing"
    near = difflib.get_close_matches(" ".join(words[:2]), leads, 1, 0.5) or difflib.get_close_matches(said, leads, 1)
    if near:
        meant = next(candidate for candidate in candidates if " ".join(candidate.lead) == near[0])
        return f"“{said}” is not known here. Perhaps: {meant}"
    return f"“{said}” is not known here. What is: {', '.join(leads)}"


def _read_as(one: Form, words: Sequence[str]) -> object:
    values: dict[str, object] = {}
    at = 0
    waiting: list[_Extra] = []
    for part in one.parts:
        if isinstance(part, _Extra):
            waiting.append(part)
            continue
        at = _read_extras(waiting, words, at, values)
        waiting = []
        at = _read_part(one, part, words, at, values)
    at = _read_extras(waiting, words, at, values)
    if at < len(words):
        raise PhraseMistake(f"“{' '.join(words[at:])}” is too much. It is written: {one}")
    try:
        value: object = one.make(**values)
    except ValueError as error:
        raise PhraseMistake(f"{error}. It is written: {one}") from error
    return value


def _read_extras(extras: Sequence[_Extra], words: Sequence[str], at: int, values: dict[str, object]) -> int:
    """Take whichever of what may be left out stands here, in any order."""
    left = list(extras)
    while left and at < len(words):
        for extra in left:
            end = _read_extra(extra, words, at, values)
            if end is not None:
                at = end
                left.remove(extra)
                break
        else:
            break
    return at


def _read_extra(extra: _Extra, words: Sequence[str], at: int, values: dict[str, object]) -> int | None:
    found: dict[str, object] = {}
    mistake: PhraseMistake | None = None
    for number, part in enumerate(extra.parts):
        word = words[at] if at < len(words) else None
        if isinstance(part, str):
            if word != part:
                return None
        else:
            try:
                found[part.field] = _value(part, word)
            except PhraseMistake as error:
                if number == 0:
                    return None
                mistake = mistake or error
        at += 1
    if mistake is not None:
        raise mistake
    if extra.flag:
        found[extra.flag] = extra.value
    values.update(found)
    return at


def _read_part(one: Form, part: str | _Slot, words: Sequence[str], at: int, values: dict[str, object]) -> int:
    word = words[at] if at < len(words) else None
    if isinstance(part, _Slot):
        try:
            values[part.field] = _value(part, word)
        except PhraseMistake as mistake:
            raise PhraseMistake(f"{mistake}. It is written: {one}") from mistake
    elif word != part:
        found = "the line ends" if word is None else f"there is “{word}”"
        raise PhraseMistake(f"where “{part}” belongs, {found}. It is written: {one}")
    return at + 1


def _value(slot: _Slot, word: str | None) -> object:
    if word is None:
        raise PhraseMistake(f"the {slot.kind.name} is missing")
    try:
        return slot.kind.read(word)
    except ValueError as error:
        raise PhraseMistake(f"“{word}” is no {slot.kind.name}: {error}") from error


def _written(one: Form, value: object) -> Iterable[str]:
    defaults = {field.name: field.default for field in dataclasses.fields(one.make)}
    for part in one.parts:
        if not isinstance(part, _Extra):
            yield _word(part, value)
        elif part.flag:
            if getattr(value, part.flag) is part.value and defaults[part.flag] is not part.value:
                yield from (_word(inner, value) for inner in part.parts)
        else:
            slots = [inner for inner in part.parts if isinstance(inner, _Slot)]
            if any(slot.kind.is_said or getattr(value, slot.field) != defaults[slot.field] for slot in slots):
                yield from (_word(inner, value) for inner in part.parts)


def _word(part: str | _Slot, value: object) -> str:
    return part if isinstance(part, str) else part.kind.write(getattr(value, part.field))


def _shown(part: _Part) -> str:
    match part:
        case str():
            return part
        case _Slot():
            return part.kind.name
        case _Extra():
            return f"[{' '.join(_shown(inner) for inner in part.parts)}]"
