"""What people see of `quorate demo`: steps, a bar, the table of proof, and a picture of all that."""

import json
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from quorate.cli import output
from quorate.cli.demo_proof import DESTINATION, VM, FailoverProof, Proof
from quorate.cli.session import session
from quorate.clusapi.progress import MigrationProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

PICTURE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: sans-serif; font-weight: bold; font-size: 18px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""A picture of the terminal that needs nothing from elsewhere: no fonts, no scripts."""


def console_of_demo(*, record: bool) -> "Console":
    """Where people look: standard output, or standard error when programs read standard output."""
    from rich.console import Console

    file = sys.stderr if session.json else sys.stdout
    return Console(file=file, width=output.WIDTH, record=record, highlight=False)


@contextmanager
def step(console: "Console", sentence: str) -> "Iterator[None]":
    """Say what was done, and how long it took."""
    began = time.monotonic()
    yield
    console.print(f"[green]✓[/green] {sentence} [dim]({time.monotonic() - began:.1f} s)[/dim]")


@contextmanager
def bar(console: "Console") -> "Iterator[Callable[[MigrationProgress], None]]":
    """Give what shows a migration's progress: a bar, or a line per phase where nobody looks at a terminal."""
    from quorate.cli.commands.migrate import describe
    from quorate.cli.commands.migration_bar import MigrationBar

    console.print(
        f"[green]✓[/green] ClusterResourceControl(…, CLUSCTL_RESOURCE_VM_START_MIGRATION, {DESTINATION!r}) = 0"
    )
    if console.is_terminal:
        with MigrationBar(VM, console) as bar:
            yield bar.update
        return
    shown: list[str] = []

    def show(progress: MigrationProgress) -> None:
        if progress.phase not in shown:
            shown.append(progress.phase)
            console.print(f"  {VM}: {describe(progress)}")

    yield show


def show(console: "Console", proof: Proof, *, keep: bool, directory: Path) -> None:
    """Show the proof, as tables or as JSON."""
    facts = proof.to_json(keep=keep)
    if session.json:
        sys.stdout.write(json.dumps({**facts, "directory": str(directory) if keep else None}, indent=2) + "\n")
        return
    if not proof.stopped_by:
        console.print(output.table("Live migration: the proof", ("", "before", "after"), _rows(proof)))
        if proof.failover is not None:
            console.print(
                output.table("Death of a node: the proof", ("", "before", "after"), _failover_rows(proof.failover))
            )
    for fault in proof.faults():
        console.print(f"[red]✗ {fault}[/red]")
    if not proof.faults():
        gap = 0.0 if proof.report is None else proof.report.longest_gap * 1000
        console.print(f"[green]✓ the guest lived on[/green]: it moved in {proof.total:.2f} s and missed {gap:.0f} ms")
        if proof.failover is not None:
            console.print(
                f"[green]✓ and it came back[/green]: {proof.failover.silence:.1f} s after everything on "
                f"{proof.failover.victim} was killed it counted on {proof.failover.owner_after}"
            )
    if keep:
        console.print(
            f"the cluster is still up: quorate --cluster {directory} status; quorate --cluster {directory} down"
        )


def _rows(proof: Proof) -> list[tuple[str, str, str]]:
    report = proof.report
    if report is None:
        return []
    return [
        ("owner", proof.owner_before, proof.owner_after),
        ("epoch of the ownership record", str(proof.epoch_before), str(proof.epoch_after)),
        ("guest's count", str(proof.count_at_start), str(report.last)),
        ("counts skipped or repeated", "", f"{len(report.missing)} / {len(report.repeated)}"),
        ("longest gap on the serial port", "10 ms beat", f"{report.longest_gap * 1000:.1f} ms"),
        ("memory sent", "", f"{proof.bytes_sent / 2**20:.1f} MiB in {proof.passes} passes"),
        ("from the call to done", "", f"{proof.total * 1000:.0f} ms"),
        ("QEMU process", str(proof.before.get("pid")), str(proof.after.get("pid"))),
    ]


def _failover_rows(proof: FailoverProof) -> list[tuple[str, str, str]]:
    return [
        ("owner", proof.victim, proof.owner_after),
        ("epoch of the ownership record", str(proof.epoch_before), str(proof.epoch_after)),
        ("guest's count (started from its disks)", str(proof.count_before), str(proof.count_after)),
        ("from the death of the node to the guest's first word", "", f"{proof.silence * 1000:.0f} ms"),
    ]
