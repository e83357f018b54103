"""What a resource depends on: an AND/OR expression on resources, as a value and as a text.

::

    [Disk]                                  needs the disk
    [Disk] and ([Address 1] or [Address 2]) needs the disk, and one of the addresses at least

A resource stands in brackets, by id or by name; ``and`` binds closer than ``or``; words may be in any case. No text at
all is no dependency. The cluster keeps and returns ids. Source: nf-clusapi-setclusterresourcedependencyexpression;
its grammar is a conjunction of alternatives, here alternatives may hold conjunctions as well.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.status import Status

MOST_TERMS: Final = 100
"""Resources that one expression may name ([MS-CMRP]: a dependency tree is at most 100 deep)."""
DEEPEST: Final = 8
"""Brackets within brackets."""


@dataclass(frozen=True, slots=True)
class Every:
    """All of the terms; none at all is no dependency."""

    terms: tuple["Dependency", ...] = ()


@dataclass(frozen=True, slots=True)
class OneOf:
    """At least one of the terms."""

    terms: tuple["Dependency", ...]


Dependency: TypeAlias = ResourceId | Every | OneOf

NO_DEPENDENCY: Final = Every()


def every(resources: Iterable[ResourceId]) -> Dependency:
    """Depend on all of these; each counts once."""
    return _joined(Every, resources)


def resources_of(dependency: Dependency) -> tuple[ResourceId, ...]:
    """Every resource that is named, once, in the order of the text."""
    if isinstance(dependency, Every | OneOf):
        return tuple(dict.fromkeys(name for term in dependency.terms for name in resources_of(term)))
    return (dependency,)


def is_plain(dependency: Dependency) -> bool:
    """Answer whether it is a list of resources that are all needed."""
    match dependency:
        case Every(terms):
            return not any(isinstance(term, Every | OneOf) for term in terms)
        case OneOf():
            return False
        case _:
            return True


def is_met(dependency: Dependency, holds: Callable[[ResourceId], bool]) -> bool:
    """Answer whether it is fulfilled when exactly the resources are there for which ``holds`` says so."""
    match dependency:
        case Every(terms):
            return all(is_met(term, holds) for term in terms)
        case OneOf(terms):
            return any(is_met(term, holds) for term in terms)
        case _:
            return holds(dependency)


def and_also(dependency: Dependency, resource: ResourceId) -> Dependency:
    """The same, and one more resource that is needed in any case."""
    return _joined(Every, (dependency, resource))


def restricted(dependency: Dependency, keep: Callable[[ResourceId], bool]) -> Dependency:
    """The same without the resources that are not kept: an alternative that has lost all its terms asks nothing."""
    match dependency:
        case Every(terms):
            return _joined(Every, (restricted(term, keep) for term in terms))
        case OneOf(terms):
            left = [found for term in terms if (found := restricted(term, keep)) != NO_DEPENDENCY]
            return _joined(OneOf, left) if left else NO_DEPENDENCY
        case _:
            return dependency if keep(dependency) else NO_DEPENDENCY


def renamed(dependency: Dependency, find: Callable[[ResourceId], ResourceId]) -> Dependency:
    """The same with every resource replaced by what ``find`` makes of it; errors of ``find`` pass through."""
    match dependency:
        case Every(terms):
            return _joined(Every, (renamed(term, find) for term in terms))
        case OneOf(terms):
            return _joined(OneOf, (renamed(term, find) for term in terms))
        case _:
            return find(dependency)


def format_dependency(dependency: Dependency) -> str:
    """The text of it; empty for no dependency."""
    match dependency:
        case Every(terms):
            return " and ".join(_bracketed(term) for term in terms)
        case OneOf(terms):
            return " or ".join(_bracketed(term) for term in terms)
        case _:
            return f"[{dependency}]"


def _bracketed(dependency: Dependency) -> str:
    text = format_dependency(dependency)
    return f"({text})" if isinstance(dependency, Every | OneOf) else text


def parse_dependency(text: str) -> Dependency:
    """Read an expression.

    Raises CallerError 87 for what is none, with the place, and 5929 for one that is too long or too deep.
    """
    parser = _Parser(text)
    found = parser.whole()
    if len(resources_of(found)) > MOST_TERMS:
        raise too_complex(f"it names {len(resources_of(found))} resources; {MOST_TERMS} may be named")
    return found


def too_complex(reason: str) -> CallerError:
    """The refusal of an expression that is beyond the limits."""
    return CallerError(Status.ERROR_DEPENDENCY_TREE_TOO_COMPLEX, f"the dependency expression is too complex: {reason}")


_TOKEN: Final = re.compile(
    r"\s*(?:(?P<open>\()|(?P<close>\))|(?P<word>and|or)\b|\[(?P<name>[^\[\]]*)\]|(?P<end>\Z))", re.I
)


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._began = 0  # where the present token begins
        self._depth = 0
        self._kind = ""
        self._value = ""
        self._next()

    def whole(self) -> Dependency:
        if self._kind == "end":
            return NO_DEPENDENCY
        found = self._either()
        if self._kind != "end":
            raise self._wrong("and, or, or the end")
        return found

    def _either(self) -> Dependency:
        return _joined(OneOf, self._chain("or", self._all))

    def _all(self) -> Dependency:
        return _joined(Every, self._chain("and", self._term))

    def _chain(self, word: str, part: Callable[[], Dependency]) -> list[Dependency]:
        found = [part()]
        while self._kind == "word" and self._value == word:
            self._next()
            found.append(part())
        return found

    def _term(self) -> Dependency:
        if self._kind == "name":
            name = ResourceId(self._value)
            self._next()
            return name
        if self._kind != "open":
            raise self._wrong("a resource in [brackets], or a parenthesis")
        self._depth += 1
        if self._depth > DEEPEST:
            raise too_complex(f"its parentheses are more than {DEEPEST} deep")
        self._next()
        found = self._either()
        if self._kind != "close":
            raise self._wrong("and, or, or a closing parenthesis")
        self._depth -= 1
        self._next()
        return found

    def _next(self) -> None:
        self._began = self._place
        match = _TOKEN.match(self._text, self._place)
        if match is None or match.lastgroup is None:
            raise self._wrong("a resource in [brackets], and, or, or a parenthesis")
        value = match[match.lastgroup].strip()
        if match.lastgroup == "name" and not value:
            raise self._wrong("a resource between the brackets")
        self._kind, self._value, self._place = match.lastgroup, value, match.end()
        if self._kind == "word":
            self._value = value.lower()

    def _wrong(self, expected: str) -> CallerError:
        rest = self._text[self._began :].strip()
        found = f"before {rest[:40]!r}" if rest else "at its end"
        sentence = f"the dependency expression is wrong {found}: {expected} was expected there"
        return CallerError(Status.ERROR_INVALID_PARAMETER, sentence)


def _joined(kind: type[Every] | type[OneOf], terms: Iterable[Dependency]) -> Dependency:
    """Join terms: what is of the same kind is taken in, nothing stands twice, one term alone is itself."""
    flat: dict[Dependency, None] = {}
    for term in terms:
        flat.update(dict.fromkeys(term.terms if isinstance(term, kind) else (term,)))
    if kind is Every:
        flat.pop(NO_DEPENDENCY, None)
    return next(iter(flat)) if len(flat) == 1 else kind(tuple(flat))
