"""Scenario files: what there is, what happens to it, a line of dashes, and what comes out.

::

    # A running virtual machine moves, and nobody notices.
    nodes node1..node3 memory 16G
    vm vm1 on node1 memory 2G dirty 50MB/s working-set 256M
    set MaximumParallelMigrations 2

    at 5: migrate vm1 to node2
    when vm1 is giving, 0.1 later: cut migration node1 from node2 for 5
    ----
    …

`seed N` (1) draws delays and ties, `until SECONDS` (30 after the last step) ends the faults, `show outcome` leaves the
trace out of what is compared. Lines that begin with # are for people.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.simulator import word_kinds as k
from quorate.simulator.phrases import Kind, PhraseMistake, read, write
from quorate.simulator.setup import NodeSetup, Setup, VmSetup
from quorate.simulator.step_forms import NODE_FORM, VM_FORM, read_step, write_step
from quorate.simulator.steps import At, On, Step

DASHES: Final = "----"
_REST: Final = 30.0
"""Seconds that a scenario goes on after its last step, if it does not say how long."""
_NODE_FIELDS: Final = ("node", "to", "other", "nodes", "on", "possible", "preferred")


class Detail(Enum):
    """How much of what comes out is compared."""

    DECISIONS = "decisions"
    """The trace of decisions and effects, and the outcome."""
    OUTCOME = "outcome"
    """How everything is in the end, and that no law was broken."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story that can be told again."""

    title: str
    """A sentence or more; the comment at its beginning."""
    setup: Setup
    steps: tuple[Step, ...]
    seed: int = 1
    until: float = 30.0
    """Seconds after which whatever fault is left ends, and all must be well."""
    detail: Detail = Detail.DECISIONS
    expected: tuple[str, ...] = ()


@dataclass(slots=True)
class _Draft:
    """A scenario of which some lines have been read."""

    title: list[str] = dataclasses.field(default_factory=list)
    nodes: dict[str, NodeSetup] = dataclasses.field(default_factory=dict)
    vms: dict[str, VmSetup] = dataclasses.field(default_factory=dict)
    properties: dict[str, int] = dataclasses.field(default_factory=dict)
    steps: list[Step] = dataclasses.field(default_factory=list)
    seed: int = 1
    until: float | None = None
    detail: Detail = Detail.DECISIONS
    number: int = 0
    """Of the line that is being read."""
    lines_of: dict[object, int] = dataclasses.field(default_factory=dict)
    """In which line each step (by its index) and each virtual machine (by its name) stands."""


def parse(text: str, place: str = "the scenario") -> Scenario:
    """Read a scenario file.

    Raises:
        CallerError 13: a line means nothing, or names what there is not; the sentence names the line, what was found
            and what would be right.
    """
    head, found, tail = _split(text)
    draft = _Draft()
    for number, line in enumerate(head.splitlines(), 1):
        try:
            draft.number = number
            _read_line(draft, line.strip())
        except PhraseMistake as mistake:
            raise _mistake(place, number, str(mistake)) from mistake
    _check_names(draft, place)
    last = max((step.when.seconds for step in draft.steps if isinstance(step.when, At)), default=0.0)
    until = last + _REST if draft.until is None else draft.until
    if until < last:
        raise _mistake(place, 0, f"it ends at {k.number(until)}, before its last step at {k.number(last)}")
    return Scenario(
        " ".join(draft.title),
        Setup(tuple(draft.nodes.values()), tuple(draft.vms.values()), draft.properties),
        tuple(draft.steps),
        draft.seed,
        until,
        draft.detail,
        tuple(tail.splitlines()) if found else (),
    )


def with_expected(text: str, lines: Iterable[str]) -> str:
    """Replace what a scenario file expects; what stands above the dashes stays as a person has written it."""
    head, _, _ = _split(text)
    return "\n".join((head.rstrip(), DASHES, *lines)) + "\n"


def unparse(scenario: Scenario) -> str:
    """Write a scenario as a file."""
    lines = [f"# {scenario.title}"] if scenario.title else []
    lines += _merged([write((NODE_FORM,), node) for node in scenario.setup.nodes], "node")
    lines += _merged([write((VM_FORM,), vm) for vm in scenario.setup.vms], "vm")
    lines += [f"set {name} {value}" for name, value in scenario.setup.properties.items()]
    lines += [f"seed {scenario.seed}", f"until {k.number(scenario.until)}"]
    if scenario.detail is not Detail.DECISIONS:
        lines.append(f"show {scenario.detail.value}")
    lines += ["", *map(write_step, scenario.steps), DASHES, *scenario.expected]
    return "\n".join(lines) + "\n"


def _split(text: str) -> tuple[str, bool, str]:
    """Take a file apart at its line of dashes."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.strip() == DASHES:
            return "".join(lines[:number]), True, "".join(lines[number + 1 :])
    return text, False, ""


# --- reading -------------------------------------------------------------------------------------------------------


def _read_line(draft: _Draft, line: str) -> None:
    if line.startswith("#"):
        if not draft.nodes:
            draft.title.append(line.lstrip("# "))
        return
    words = line.split()
    if not words:
        return
    if words[0] in ("at", "when"):
        draft.lines_of[len(draft.steps)] = draft.number
        draft.steps.append(read_step(line))
        return
    reader = _READERS.get(words[0])
    if reader is None:
        raise PhraseMistake(
            f"“{words[0]}” begins no line of a scenario. What does: nodes, vm, set, seed, until, show, at, when, #"
        )
    reader(draft, words)


def _read_nodes(draft: _Draft, words: Sequence[str]) -> None:
    for name in _names_of(words, "nodes NAMES [memory SIZE] …"):
        node = read((NODE_FORM,), ["node", name, *words[2:]])
        assert isinstance(node, NodeSetup)
        _put(draft.nodes, name, node)


def _read_vms(draft: _Draft, words: Sequence[str]) -> None:
    names = _names_of(words, "vm NAMES on NODES [memory SIZE] …")
    at = words.index("on") + 1 if "on" in words else len(words)
    places = _names_of(words[at - 1 :], "vm NAMES on NODES [memory SIZE] …") if at < len(words) else ()
    for index, name in enumerate(names):
        own = list(words)
        own[0:2] = ["vm", name]
        if places:
            own[at] = places[index % len(places)]
        vm = read((VM_FORM,), own)
        assert isinstance(vm, VmSetup)
        draft.lines_of[name] = draft.number
        _put(draft.vms, name, vm)


def _names_of(words: Sequence[str], how: str) -> tuple[str, ...]:
    if len(words) < 2:
        raise PhraseMistake(f"the names are missing. It is written: {how}")
    try:
        return k.read_names(words[1])
    except ValueError as error:
        raise PhraseMistake(f"“{words[1]}” names nothing: {error}. It is written: {how}") from error


_Thing = NodeSetup | VmSetup


def _put(things: dict[str, NodeSetup] | dict[str, VmSetup], name: str, thing: _Thing) -> None:
    if name in things:
        raise PhraseMistake(f"there is a “{name}” already: each name stands for one thing")
    things[name] = thing  # type: ignore[assignment]


def _read_property(draft: _Draft, words: Sequence[str]) -> None:
    draft.properties[words[1] if len(words) > 1 else ""] = int(_number(words, 2, "set PROPERTY NUMBER", k.WHOLE))


def _read_seed(draft: _Draft, words: Sequence[str]) -> None:
    draft.seed = int(_number(words, 1, "seed NUMBER", k.WHOLE))


def _read_until(draft: _Draft, words: Sequence[str]) -> None:
    draft.until = _number(words, 1, "until SECONDS", k.SECONDS)


def _read_show(draft: _Draft, words: Sequence[str]) -> None:
    details = {detail.value: detail for detail in Detail}
    if len(words) != 2 or words[1] not in details:
        raise PhraseMistake(f"it is written: show {' or show '.join(details)}")
    draft.detail = details[words[1]]


def _number(words: Sequence[str], at: int, how: str, kind: Kind) -> float:
    if len(words) != at + 1:
        raise PhraseMistake(f"it is written: {how}")
    try:
        value = kind.read(words[at])
    except ValueError as error:
        raise PhraseMistake(f"“{words[at]}” is no number: {error}. It is written: {how}") from error
    assert isinstance(value, (int, float))
    return value


_READERS: Final[Mapping[str, Callable[[_Draft, Sequence[str]], None]]] = {
    "node": _read_nodes,
    "nodes": _read_nodes,
    "vm": _read_vms,
    "vms": _read_vms,
    "set": _read_property,
    "seed": _read_seed,
    "until": _read_until,
    "show": _read_show,
}


def _check_names(draft: _Draft, place: str) -> None:
    """Refuse names of what there is not, before anything runs."""
    if not draft.nodes:
        raise _mistake(place, 0, "it has no nodes. They are written: nodes node1..node3 memory 16G")
    for vm in draft.vms.values():
        _check_known(draft.nodes, "node", [*_named(vm, _NODE_FIELDS)], place, draft.lines_of[vm.name])
    nodes = [*draft.nodes, *(name for step in draft.steps for name in _joining(step))]
    for index, step in enumerate(draft.steps):
        number = draft.lines_of[index]
        _check_known(nodes, "node", [*_named(step.action, _NODE_FIELDS)], place, number)
        vms = [*_named(step.action, ("vm",))]
        if isinstance(step.when, On):
            vms.append(step.when.vm)
        _check_known(draft.vms, "virtual machine", vms, place, number)


def _joining(step: Step) -> Iterator[str]:
    """Give the names of the nodes that a step brings into the cluster."""
    if type(step.action).__name__ == "Admit":
        yield from _named(step.action, ("node",))


def _named(thing: object, fields: Sequence[str]) -> Iterator[str]:
    for field in fields:
        match getattr(thing, field, None):
            case str(name):
                yield name
            case tuple(names):
                yield from names


def _check_known(known: Iterable[str], what: str, names: Iterable[str], place: str, line: int) -> None:
    for name in names:
        if name not in known:
            there = k.write_names(list(known)) or "none"
            raise _mistake(place, line, f"there is no {what} “{name}”. There is: {there}")


def _mistake(place: str, line: int, sentence: str) -> CallerError:
    where = f"{place}, line {line}" if line else place
    return CallerError(Status.ERROR_INVALID_DATA, f"{where}: {sentence}")


# --- writing -------------------------------------------------------------------------------------------------------


def _merged(lines: Sequence[str], word: str) -> Iterator[str]:
    """Write neighbours that differ in nothing but their names as one line."""
    parted = [(found[1], found[2]) for line in lines if (found := re.fullmatch(rf"{word} (\S+)(.*)", line))]
    index = 0
    while index < len(parted):
        rest = parted[index][1]
        end = index
        while end < len(parted) and parted[end][1] == rest:
            end += 1
        names = [name for name, _ in parted[index:end]]
        yield f"{word}{'s' if len(names) > 1 else ''} {k.write_names(names)}{rest}"
        index = end
