"""``quorate rehearse …``: what a drain, or the loss of nodes, would do to this cluster, with times."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from quorate.cli import output
from quorate.cli.quiet import no_logs
from quorate.cli.session import session
from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.status import Status

if TYPE_CHECKING:
    from rich.console import RenderableType

    from quorate.simulator.inventory import Assumptions, Inventory, Seeded
    from quorate.simulator.rehearsed import Drain, Journey, Lose, Rehearsed

_MINUTE: Final = 60.0


def drain_(
    nodes: str,
    /,
    *,
    target: str | None = None,
    force: bool = False,
    in_turn: bool = False,
    link: str | None = None,
    dirty: Sequence[str] = (),
    seed: int = 1,
) -> int:
    """Tell what draining nodes would do: what moves where, in which order and how long; what would not fit.

    Nothing is changed. Exit code 1 if something would stay, not converge, not run, or break a rule.

    Parameters
    ----------
    nodes
        The nodes, separated by commas. Several are drained at the same time, unless --in-turn is given.
    target
        Everything goes to this node, as with `quorate node drain --target`.
    force
        Nothing stays, as with `quorate node drain --force`.
    in_turn
        One node after the other, in the order in which they are named; those that are done stay paused.
    link
        What a node's link carries in migrations: 10Gb/s (bits), 1.2GB/s (bytes); what was measured, if left out.
    dirty
        How fast guests write: 50MB/s for all, db1=300MB/s for one; what was measured, if left out.
    seed
        Draws what nobody can know: small delays, and the order of what happens at one moment.
    """
    from quorate.simulator.rehearsed import Drain

    inventory, assumptions = _inventory(), _assumptions(link, dirty)
    chosen = _chosen(inventory, nodes)
    to = None if target is None else _known(inventory, target)
    if to in chosen:
        raise _mistake(f"{to} cannot be drained to itself")
    return _rehearse(inventory, assumptions, Drain(chosen, to, not force, in_turn), seed)


def lose_(nodes: str, /, *, link: str | None = None, dirty: Sequence[str] = (), seed: int = 1) -> int:
    """Tell what would happen if nodes lost their power now: what is started where, and how long each one is out.

    Nothing is changed. Exit code 1 if something would not run any more, or break a rule.

    Parameters
    ----------
    nodes
        The nodes, separated by commas. Several are lost at the same moment.
    link
        What a node's link carries in migrations: 10Gb/s (bits), 1.2GB/s (bytes); what was measured, if left out.
    dirty
        How fast guests write: 50MB/s for all, db1=300MB/s for one; what was measured, if left out.
    seed
        Draws what nobody can know: small delays, and the order of what happens at one moment.
    """
    from quorate.simulator.rehearsed import Lose

    inventory, assumptions = _inventory(), _assumptions(link, dirty)
    chosen = _chosen(inventory, nodes)
    if not any(node.is_there and node.name not in chosen for node in inventory.nodes):
        raise _mistake("no node would be left: there is nothing to rehearse")
    return _rehearse(inventory, assumptions, Lose(chosen), seed)


# --- what is asked for -----------------------------------------------------------------------------------------------


def _inventory() -> "Inventory":
    from quorate.simulator.inventory import Inventory

    return Inventory.from_json(session.client().call("GetInventory", full_access=False).as_json())


def _chosen(inventory: "Inventory", nodes: str) -> tuple[str, ...]:
    names = [_known(inventory, name.strip()) for name in nodes.split(",") if name.strip()]
    if not names:
        raise _mistake("name a node")
    return tuple(dict.fromkeys(names))


def _known(inventory: "Inventory", name: str) -> str:
    node = inventory.node(name)
    if node is None:
        known = ", ".join(one.name for one in inventory.nodes)
        raise CallerError(Status.ERROR_CLUSTER_NODE_NOT_FOUND, f'there is no node "{name}"; there are {known}')
    if not node.is_there:
        state = node.state.name.lower()
        raise RefusalError(Status.ERROR_CLUSTER_NODE_DOWN, f"{node.name} is {state}: name a node that is up")
    return node.name


def _assumptions(link: str | None, dirty: Sequence[str]) -> "Assumptions":
    from quorate.simulator.inventory import Assumptions

    everybody: float | None = None
    of: dict[str, float] = {}
    for one in dirty:
        name, equals, text = one.rpartition("=")
        if equals:
            of[name.casefold()] = _rate("--dirty", text)
        else:
            everybody = _rate("--dirty", one)
    carried = None if link is None else _rate("--link", link)
    if carried == 0:
        raise _mistake("--link 0: a link that carries nothing moves nothing")
    return Assumptions(carried, everybody, of)


def _rate(option: str, text: str) -> float:
    from quorate.simulator.word_kinds import RATE

    try:
        value = RATE.read(text)
    except ValueError as error:
        raise _mistake(f"{option} {text}: {error}") from error
    assert isinstance(value, float), "a rate is a number"
    return value


def _mistake(sentence: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_PARAMETER, sentence)


# --- what is told ----------------------------------------------------------------------------------------------------


def _rehearse(inventory: "Inventory", assumptions: "Assumptions", what: "Drain | Lose", seed: int) -> int:
    from quorate.simulator.inventory import seed_setup
    from quorate.simulator.rehearsal import rehearse

    unknown = [name for name in assumptions.dirty_of if name not in {one.name.casefold() for one in inventory.groups}]
    if unknown:
        raise CallerError(Status.ERROR_GROUP_NOT_FOUND, f'--dirty: there is no virtual machine "{unknown[0]}"')
    seeded = seed_setup(inventory, assumptions)
    with no_logs():
        rehearsed = rehearse(seeded, what, seed)
    if session.json:
        output.print_json(_facts(seeded, what, rehearsed))
    else:
        output.console().print(_page(seeded, what, rehearsed))
    return output.EXIT_REFUSAL if rehearsed.troubles else output.EXIT_SUCCESS


def _verb(what: "Drain | Lose") -> str:
    return type(what).__name__.lower()


def _facts(seeded: "Seeded", what: "Drain | Lose", rehearsed: "Rehearsed") -> JsonObject:
    moves: list[JsonValue] = [_move(number, journey) for number, journey in enumerate(rehearsed.journeys, 1)]
    return {
        "rehearsed": _verb(what),
        "nodes": [*what.nodes],
        "seed": rehearsed.seed,
        "all_well": not rehearsed.troubles,
        "seconds": round(rehearsed.seconds, 3),
        "longest_gap": round(rehearsed.longest_gap, 4),
        "moves": moves,
        "troubles": [
            {"what": trouble.what.value, "vm": trouble.vm, "sentence": trouble.sentence}
            for trouble in rehearsed.troubles
        ],
        "remarks": [*rehearsed.remarks],
        "assumed": [*seeded.assumed],
        "memory": [
            {"node": room.name, "total": str(room.memory), "before": str(room.before), "after": str(room.after)}
            for room in rehearsed.rooms
        ],
    }


def _move(number: int, journey: "Journey") -> JsonObject:
    return {
        "order": number,
        "vm": journey.vm,
        "how": journey.how.value,
        "source": journey.source,
        "destination": journey.destination,
        "begins": round(journey.begins, 3),
        "ends": None if journey.ends is None else round(journey.ends, 3),
        "gap": round(journey.gap, 4),
        "passes": journey.passes,
        "copied": str(journey.copied),
        "arrived": journey.has_arrived,
        "failure": journey.failure,
    }


def _page(seeded: "Seeded", what: "Drain | Lose", rehearsed: "Rehearsed") -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    nodes = ", ".join(what.nodes)
    title = f"If {nodes} {'were' if len(what.nodes) > 1 else 'was'} {_DONE[_verb(what)]}"
    parts: list[RenderableType] = []
    if rehearsed.journeys:
        parts.append(_moves(title, what, rehearsed.journeys))
        parts.append(_rooms(rehearsed))
    parts.append(Text(_summary(what, rehearsed)))
    parts += [Text(f"! {trouble.sentence}", style="yellow") for trouble in rehearsed.troubles]
    parts += [Text(f"- {remark}") for remark in rehearsed.remarks]
    parts.append(Text(f"Assumed: {'; '.join(seeded.assumed)}.", style="dim"))
    return Group(*parts)


_DONE: Final[Mapping[str, str]] = {"drain": "drained", "lose": "lost"}


def _moves(title: str, what: "Drain | Lose", journeys: Sequence["Journey"]) -> "RenderableType":
    gap = "Gap" if _verb(what) == "drain" else "Outage"
    rows = [
        (
            str(number),
            journey.vm,
            journey.source,
            journey.destination or "-",
            journey.how.value if not journey.failure else f"{journey.how.value}, fails",
            _time(journey.begins),
            "-" if journey.ends is None else _time(journey.ends - journey.begins),
            _gap(journey),
        )
        for number, journey in enumerate(journeys, 1)
    ]
    columns = ("#", "Virtual machine", "From", "To", "How", "Begins", "Takes", gap)
    return output.table(title, columns, rows, right=("#", "Begins", "Takes", gap))


def _gap(journey: "Journey") -> str:
    if journey.still_since is not None:
        return "for good"
    if not journey.gap:
        return "-"
    return f"{journey.gap * 1000:.0f} ms" if journey.gap < 1 else _time(journey.gap)


def _rooms(rehearsed: "Rehearsed") -> "RenderableType":
    rows = [
        (room.name, output.size(room.memory), output.size(room.before), output.size(room.after))
        for room in rehearsed.rooms
    ]
    return output.table(
        "", ("Node", "Memory", "Taken now", "Afterwards"), rows, right=("Memory", "Taken now", "Afterwards")
    )


def _summary(what: "Drain | Lose", rehearsed: "Rehearsed") -> str:
    if not rehearsed.journeys:
        return "Nothing would move." if not rehearsed.troubles else "Nothing could move."
    arrived = {journey.vm for journey in rehearsed.journeys if journey.has_arrived}
    many = f"{len(arrived)} virtual machine{'' if len(arrived) == 1 else 's'}"
    if _verb(what) == "drain":
        longest = (
            f"; the longest gap of a guest is {_gap_words(rehearsed.longest_gap)}" if rehearsed.longest_gap else ""
        )
        return f"All is done after {_time(rehearsed.seconds)}: {many} moved{longest}."
    return f"All is done after {_time(rehearsed.seconds)}: {many} taken over. What guests take to boot comes on top."


def _gap_words(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else _time(seconds)


def _time(seconds: float) -> str:
    """Say a time: 4.8 s, 2 min 05 s, 1 h 03 min."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
