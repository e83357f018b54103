"""What every page of figures is made of: tables of Markdown, verdicts, marks to write between, numbered files."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BEGIN: Final = "<!-- figures: begin (written by python -m bench.run) -->"
END: Final = "<!-- figures: end -->"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target and whether it was reached."""

    sentence: str
    reached: str
    is_met: bool


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table of Markdown, its columns as wide as what is in them."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def text(row: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    return "\n".join((text(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(text, rows)))


def rewrite(path: Path, figures: str, begin: str = BEGIN) -> None:
    """Put the figures between the marks of the document."""
    before, mark, rest = path.read_text(encoding="utf-8").partition(begin)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{path} has no place for the figures")
    path.write_text(f"{before}{begin}\n\n{figures}\n{END}{after}", encoding="utf-8")


def write_records(directory: Path, lines: Iterable[Mapping[str, object]], name: str = "run") -> Path:
    """Keep the run as the next numbered file of the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    taken = [int(path.stem.removeprefix(f"{name}-")) for path in directory.glob(f"{name}-*.jsonl")]
    path = directory / f"{name}-{max(taken, default=0) + 1:04}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
