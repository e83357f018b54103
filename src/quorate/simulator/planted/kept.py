"""The shortest histories that show planted faults, kept as scenario files, and the table that is made of them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from quorate.simulator import playing
from quorate.simulator.laws import Violation
from quorate.simulator.planted.catalogue import PLANTED
from quorate.simulator.planted.fault import Planted
from quorate.simulator.planted.search import Found, played, shows
from quorate.simulator.scenario_text import Detail, Scenario, parse, unparse

BEGIN: Final = "<!-- planted faults: written by scripts/render-planted -->\n"
END: Final = "<!-- end of planted faults -->\n"
_TRIED: Final = re.compile(r"Found in history (\d+)\.$")


@dataclass(frozen=True, slots=True)
class Kept:
    """A fault and the shortest history that shows it."""

    planted: Planted
    scenario: Scenario
    tried: int
    """How many histories were played until it was found; 0: nobody has counted."""


def file_of(planted: Planted) -> str:
    """Give the name of the file for a fault."""
    return f"{planted.name.replace(' ', '-').lower()}.txt"


def keep(found: Found, directory: Path) -> Path:
    """Write the history that shows a fault into its file, or what the file has, if that shows it and is shorter."""
    planted = found.planted
    path = directory / file_of(planted)
    scenario = found.scenario
    if path.exists():
        before = read(directory, planted).scenario
        if _length(before) <= _length(scenario) and shows(planted, before) is not None:
            scenario = before
    when = f" Found in history {found.tried}." if found.tried else ""
    what = f"Planted: {planted.name}. {planted.sentence}{when}"
    scenario = replace(scenario, title=what, detail=Detail.OUTCOME)
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(unparse(replace(scenario, expected=playing.play(scenario).found)), encoding="utf-8")
    return path


def _length(scenario: Scenario) -> tuple[int, int, int]:
    return len(scenario.steps), len(scenario.setup.vms), len(scenario.setup.nodes)


def read(directory: Path, planted: Planted) -> Kept:
    """Read the history that shows a fault. Raises OSError, CallerError."""
    path = directory / file_of(planted)
    scenario = parse(path.read_text(encoding="utf-8"), str(path))
    tried = _TRIED.search(scenario.title)
    return Kept(planted, scenario, 0 if tried is None else int(tried[1]))


# --- the table -------------------------------------------------------------------------------------------------------


def page_with_table(page: str, directory: Path) -> str:
    """Give a page with the table of now between its markers. Raises ValueError: it has lost them."""
    head, found, rest = page.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"the page has lost its markers: {BEGIN.strip()} … {END.strip()}")
    return f"{head}{BEGIN}\n{table(directory)}\n{END}{tail}"


def table(directory: Path) -> str:
    """Write the faults as a table, and what masks some of them."""
    rows = [_row(read(directory, planted)) for planted in PLANTED]
    lines = [
        "| fault | rule | found in history | breaks | steps of the shortest |",
        "|---|---|---|---|---|",
        *rows,
        "",
        *_masks(PLANTED),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _row(kept: Kept) -> str:
    planted = kept.planted
    violation = played(kept.scenario, planted.harmful)
    mask = "" if planted.mask is None else " *"
    name = f"[{planted.name}](../tests/scenarios/simulator/planted/{file_of(planted)}){mask}: {planted.sentence}"
    return f"| {name} | {planted.rule} | {kept.tried or '–'} | {_law(violation)} | {len(kept.scenario.steps)} |"


def _law(violation: Violation | None) -> str:
    return "nothing" if violation is None else violation.law


def _masks(faults: Iterable[Planted]) -> list[str]:
    masked = [(planted.name, planted.mask) for planted in faults if planted.mask is not None]
    if not masked:
        return []
    lines = ["\\* does no harm by itself, as another rule masks it; it is found with that rule taken away as well:", ""]
    return lines + [f"- *{name}*: {mask.why} ({mask.rule})." for name, mask in masked]
