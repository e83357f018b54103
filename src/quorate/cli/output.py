"""How answers look: tables of at most 100 columns, or JSON with the same facts."""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from quorate.cli.session import session
from quorate.clusapi.errors import CallerError, ClusterError, RefusalError
from quorate.clusapi.json_types import JsonObject, JsonValue

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

EXIT_SUCCESS: Final = 0
EXIT_REFUSAL: Final = 1
EXIT_USAGE: Final = 2
EXIT_FAULT: Final = 3
EXIT_INTERRUPTED: Final = 130
WIDTH: Final = 100

_MARKS: Final[Mapping[str, str]] = {
    "UP": "green",
    "ONLINE": "green",
    "RUNNING": "green",
    "DOWN": "red",
    "FAILED": "red",
    "PAUSED": "yellow",
    "PENDING": "yellow",
    "ONLINE_PENDING": "yellow",
    "OFFLINE_PENDING": "yellow",
    "UNKNOWN": "red",
    "UNREACHABLE": "red",
    "UNAVAILABLE": "yellow",
    "PARTITIONED": "yellow",
    "OK": "green",
    "WARNING": "yellow",
}


def console() -> "Console":
    """The terminal; as wide as it is, but never wider than our tables."""
    from rich.console import Console

    return Console(width=width(), highlight=False, soft_wrap=False)


def width() -> int:
    """How many columns there are: those of the terminal, but never more than our tables have."""
    columns = shutil.get_terminal_size((WIDTH, 24)).columns
    return min(columns if sys.stdout.isatty() else WIDTH, WIDTH)


def show(facts: JsonValue, people: "RenderableType") -> None:
    """Print facts for programs, or what people want to see."""
    if session.json:
        print_json(facts)
    else:
        console().print(people)


def print_json(facts: JsonValue) -> None:
    """Print one JSON value."""
    sys.stdout.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def say(sentence: str, facts: JsonObject) -> None:
    """Print the outcome of a change: a sentence, or its facts."""
    if session.json:
        print_json(facts)
    else:
        sys.stdout.write(sentence + "\n")
        sys.stdout.flush()


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> "RenderableType":
    """A table; cells that are states are coloured, and those whose first line is one."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, title_style="bold")
    for column in columns:
        shown.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    return shown


def _style(cell: str) -> str:
    return _MARKS.get(cell.partition("\n")[0].upper().replace(" ", "_"), "")


def words(state_name: str) -> str:
    """A state's name as people read it."""
    return state_name.replace("_", " ").capitalize()


def size(number: float) -> str:
    """A number of bytes for people: 1.4 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def fail(error: ClusterError) -> int:
    """Say what went wrong, on standard error, and give the exit code."""
    if session.json:
        body = {"status": int(error.status), "name": error.status.name, "sentence": error.sentence}
        sys.stderr.write(json.dumps({"error": body}, ensure_ascii=False) + "\n")
    else:
        word = {EXIT_USAGE: "not possible", EXIT_REFUSAL: "refused", EXIT_FAULT: "failed"}[exit_code(error)]
        sys.stderr.write(f"{_bold(word)}: {error.sentence}\n  status {int(error.status)} {error.status.name}\n")
    return exit_code(error)


def fail_usage(sentence: str) -> int:
    """Say what is wrong with the command line."""
    sys.stderr.write(f"{_bold('not understood')}: {sentence}\n")
    return EXIT_USAGE


def exit_code(error: ClusterError) -> int:
    """The branch of an error as an exit code."""
    if isinstance(error, CallerError):
        return EXIT_USAGE
    return EXIT_REFUSAL if isinstance(error, RefusalError) else EXIT_FAULT


def _bold(word: str) -> str:
    plain = not sys.stderr.isatty() or "NO_COLOR" in os.environ
    return word if plain else f"\033[1m{word}\033[0m"


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask before something is lost; without a terminal only ``--yes`` is an answer. Raises CallerError 87 then."""
    from quorate.clusapi.status import Status

    if yes:
        return True
    if not sys.stdin.isatty():
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{question} Nobody is here to answer; add --yes")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().casefold() in ("y", "yes")
