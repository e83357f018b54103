"""`quorate demo`: a pocket cluster, one virtual machine, one live migration by START_MIGRATION, and the proof.

The proof is taken from outside: the guest counts on its serial port, both nodes' serial logs are watched with the
clock of this process, and the processes are those that the operating system shows.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from quorate.cli import output
from quorate.cli.session import session
from quorate.client.address import CLUSTER_FILE
from quorate.client.blocking import BlockingClient
from quorate.client.functions import ClusterResourceControl, OpenCluster, OpenClusterResource
from quorate.client.watching import MigrationWatch
from quorate.clusapi.control_codes import CLUSCTL_RESOURCE_VM_START_MIGRATION
from quorate.clusapi.errors import ClusterError, FaultError, error_from_status
from quorate.clusapi.json_types import JsonObject, JsonValue, json_int, json_object, json_objects, json_text, json_texts
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import MigrationState, ResourceState, VmState
from quorate.clusapi.status import Status
from quorate.hypervisor.serial_watch import SerialReport, SerialWatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

VM = "web1"
SOURCE, DESTINATION = "node1", "node2"
DEFINITION: JsonObject = {
    "name": VM,
    "memory": "256M",
    "guest": {"kind": "builtin", "fill_bytes": 64 << 20, "dirty_bytes": 8 << 20, "dirty_bytes_per_second": 64 << 20},
}
BEATS_BEFORE = 50
BEATS_AFTER = 100
LONGEST_GAP = 1.0
"""Seconds of silence on the serial port beyond which we do not call it a live migration."""

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


@dataclass(slots=True)
class Proof:
    """What was seen, and what of it is not as it should be."""

    source: str = SOURCE
    destination: str = DESTINATION
    owner_before: str = ""
    owner_after: str = ""
    epoch_before: int = 0
    epoch_after: int = 0
    total: float = 0.0
    status: int = 0
    report: SerialReport | None = None
    count_at_start: int = 0
    bytes_sent: int = 0
    passes: int = 0
    migration_state: int = 0
    source_log: str = ""
    destination_log: str = ""
    before: JsonObject = field(default_factory=dict)
    after: JsonObject = field(default_factory=dict)
    left_over: tuple[int, ...] = ()
    stopped_by: str = ""
    """Why the demo could not be carried out to its end."""
    not_taken_down: str = ""
    """Why the cluster could not be taken down in order."""

    def faults(self) -> tuple[str, ...]:
        """Say everything that speaks against a live migration."""
        if self.stopped_by:
            return tuple(filter(None, (self.stopped_by, self.not_taken_down)))
        report = self.report
        checks = [
            (self.status == 0, f"START_MIGRATION answered {self.status}"),
            (self.owner_before == self.source, f"{VM} began on {self.owner_before or 'no node'}"),
            (self.owner_after == self.destination, f"{VM} is on {self.owner_after or 'no node'}"),
            (self.epoch_after > self.epoch_before, "the epoch of the ownership record did not rise"),
            (self.migration_state == 0, f"MigrationState is {self.migration_state}"),
            (not self.left_over, f"QEMU processes were left on {self.source}: {self.left_over}"),
            (report is not None and report.beats > 0, "the guest was never heard"),
            (not self.not_taken_down, self.not_taken_down),
        ]
        if report is not None:
            checks += [
                (not report.missing, f"{len(report.missing)} counts are missing"),
                (not report.repeated, f"{len(report.repeated)} counts came twice: the guest was restarted"),
                (not report.interleaved, "both copies spoke at the same time"),
                (not report.other, f"the guest complained: {report.other[:1]}"),
                (len(report.turns) == 2, "the guest was not heard from both nodes, once each"),
                (report.longest_gap < LONGEST_GAP, f"the guest stood still for {report.longest_gap * 1000:.0f} ms"),
            ]
        return tuple(sentence for holds, sentence in checks if not holds)

    def to_json(self, *, keep: bool) -> dict[str, JsonValue]:
        """Write it for programs."""
        report = self.report
        facts: dict[str, JsonValue] = {
            "ok": not self.faults(),
            "source": self.source,
            "destination": self.destination,
            "owner_before": self.owner_before,
            "owner_after": self.owner_after,
            "total_ms": round(self.total * 1000, 1),
            "gap_ms": None if report is None else round(report.longest_gap * 1000, 1),
            "guest_continuous": report is not None and report.continuous,
            "count_at_start": self.count_at_start,
            "count_before": None if report is None else report.first,
            "count_after": None if report is None else report.last,
            "bytes": str(self.bytes_sent),
            "passes": self.passes,
            "epoch_before": self.epoch_before,
            "epoch_after": self.epoch_after,
            "faults": list(self.faults()),
        }
        if keep:
            facts["serial_logs"] = {self.source: self.source_log, self.destination: self.destination_log}
            facts["processes"] = {
                "source": {"pid": self.before.get("pid"), "command": list(json_texts(self.before, "command"))},
                "destination": {"pid": self.after.get("pid"), "command": list(json_texts(self.after, "command"))},
            }
        return facts


def demo(*, keep: bool = False, dir: Path | None = None, svg: Path | None = None) -> int:
    """Live-migrate a virtual machine between two nodes of a cluster on this machine, and prove that it lived on.

    Parameters
    ----------
    keep
        Leave the cluster up afterwards, and show where its processes and logs are.
    dir
        Where the cluster lives; a temporary directory, if left out.
    svg
        Write a picture of what is shown to this file.
    """
    from quorate.service import pocket

    directory = dir.absolute() if dir is not None else Path(tempfile.mkdtemp(prefix="quorate-demo-"))
    console = _console(record=svg is not None)
    proof = Proof()
    is_ours = not (directory / CLUSTER_FILE).exists()
    try:
        with _step(console, "a pocket cluster of three nodes: three daemons, one SQLite file"):
            pocket.start(directory, 3)
        client = BlockingClient.at(str(directory))
        with _step(console, f"{VM}: a virtual machine of 256 MiB that counts on its serial port"):
            _start_vm(client)
        _migrate(client, directory, console, proof)
    except ClusterError as error:
        proof.stopped_by = str(error)
    finally:
        if not keep:
            proof.not_taken_down = _take_down(directory, is_ours=is_ours)
            if dir is None:
                _remove(directory)
    _show(console, proof, keep=keep, directory=directory)
    if svg is not None:
        console.save_svg(str(svg), title="quorate demo", code_format=PICTURE)
    return output.EXIT_REFUSAL if proof.faults() else output.EXIT_SUCCESS


# --- the steps -----------------------------------------------------------------------------------------------------


def _start_vm(client: BlockingClient) -> None:
    client.call("CreateVirtualMachine", name=VM, definition=DEFINITION)
    client.call("OnlineGroup", group=VM)
    _wait(lambda: _runs(client), 30, f"{VM} runs")


def _runs(client: BlockingClient) -> bool:
    facts = _facts(client)
    if json_int(facts, "resource_state") == ResourceState.FAILED:
        raise FaultError(Status.ERROR_RESOURCE_FAILED, f"{VM} did not start: {json_text(facts, 'sentence')}")
    return json_int(facts, "vm_state") == VmState.RUNNING


def _migrate(client: BlockingClient, directory: Path, console: "Console", proof: Proof) -> None:
    before = proof.before = _facts(client)
    proof.owner_before = json_text(before, "node")
    proof.epoch_before = json_int(before, "epoch")
    proof.source_log = json_text(before, "serial_log")
    proof.destination_log = proof.source_log.replace("/nodes/1/", "/nodes/2/")
    with SerialWatch(Path(proof.source_log), Path(proof.destination_log)) as watch:
        if not watch.wait_beats(BEATS_BEFORE, 10.0):
            raise FaultError(Status.ERROR_TIMEOUT, "the guest does not count on its serial port")
        began = time.monotonic()
        proof.count_at_start = watch.report().last or 0
        resource = OpenClusterResource(OpenCluster(str(directory)), f"Virtual Machine {VM}")
        destination = f"{DESTINATION}\0".encode("utf-16-le")
        proof.status, _, _ = ClusterResourceControl(resource, None, CLUSCTL_RESOURCE_VM_START_MIGRATION, destination)
        if proof.status:
            raise error_from_status(proof.status, "START_MIGRATION was refused")
        proof.total = _follow(client, console, began)
        arrived = watch.report().last or 0
        _wait(lambda: (watch.report().last or 0) >= arrived + BEATS_AFTER, 15, "the guest counts on")
        proof.report = watch.report(since=began - 0.5)
    after = proof.after = _facts(client)
    proof.owner_after = json_text(after, "node")
    proof.epoch_after = json_int(after, "epoch")
    proof.migration_state = json_int(json_object(after, "migration"), "migration_state")
    proof.left_over = _qemus_of(client, SOURCE)
    _take_figures(client, proof)


def _follow(client: BlockingClient, console: "Console", began: float) -> float:
    """Show the progress until the migration is over; give the seconds that it took."""
    watch = MigrationWatch(client, VM)
    with _bar(console) as show:
        for progress in watch:
            show(progress)
    result = watch.result
    total = time.monotonic() - began
    if result is not None and result.state is not MigrationState.NO_MIGRATION:
        raise FaultError(Status.ERROR_GEN_FAILURE, f"the migration ended with {result.state.name}: {result.sentence}")
    return total


def _take_figures(client: BlockingClient, proof: Proof) -> None:
    """The figures that the source kept, in its event."""
    found: list[JsonObject] = []

    def told() -> bool:
        events = json_objects(client.call("GetEvents").as_json(), "events")
        found[:] = [e for e in events if json_text(e, "kind") == "migration.stopped_source"]
        return bool(found)

    _wait(told, 5, "the source tells its figures")
    figures = json_object(found[-1], "after")
    proof.bytes_sent, proof.passes = json_int(figures, "bytes"), json_int(figures, "passes")


def _facts(client: BlockingClient) -> JsonObject:
    return client.call("GetVirtualMachine", vm=VM).json("virtual_machine")


def _qemus_of(client: BlockingClient, node: str) -> tuple[int, ...]:
    nodes = json_objects(client.call("ListNodes").as_json(), "nodes")
    return tuple(
        json_int(qemu, "pid") for n in nodes if json_text(n, "name") == node for qemu in json_objects(n, "qemu")
    )


def _wait(condition: Callable[[], bool], timeout: float, what: str) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise FaultError(Status.ERROR_TIMEOUT, f"not within {timeout:.0f} s: {what}")
        time.sleep(0.02)


def _take_down(directory: Path, *, is_ours: bool) -> str:
    """Take the cluster down; what does not go in order is ended, unless the cluster was there before the demo.

    Give the reason why it did not go in order, or "".
    """
    from quorate.service import pocket

    try:
        left = pocket.stop(directory)
        fault = f"QEMU processes were left running: {', '.join(map(str, left))}" if left else ""
    except ClusterError as error:
        fault = f"the cluster was not taken down in order: {error}"
    try:
        if fault and is_ours:
            pocket.end(directory)
    except ClusterError as error:
        fault += f"; and it could not be ended: {error}"
    return fault


def _remove(directory: Path) -> None:
    import shutil

    shutil.rmtree(directory, ignore_errors=True)


# --- what people see -----------------------------------------------------------------------------------------------


def _console(*, record: bool) -> "Console":
    """Where people look: standard output, or standard error when programs read standard output."""
    from rich.console import Console

    file = sys.stderr if session.json else sys.stdout
    return Console(file=file, width=output.WIDTH, record=record, highlight=False)


@contextmanager
def _step(console: "Console", sentence: str) -> "Iterator[None]":
    began = time.monotonic()
    yield
    console.print(f"[green]✓[/green] {sentence} [dim]({time.monotonic() - began:.1f} s)[/dim]")


@contextmanager
def _bar(console: "Console") -> "Iterator[Callable[[MigrationProgress], None]]":
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


def _show(console: "Console", proof: Proof, *, keep: bool, directory: Path) -> None:
    facts = proof.to_json(keep=keep)
    if session.json:
        sys.stdout.write(json.dumps({**facts, "directory": str(directory) if keep else None}, indent=2) + "\n")
        return
    if not proof.stopped_by:
        console.print(output.table("The proof", ("", "before", "after"), _rows(proof)))
    for fault in proof.faults():
        console.print(f"[red]✗ {fault}[/red]")
    if not proof.faults():
        gap = 0.0 if proof.report is None else proof.report.longest_gap * 1000
        console.print(f"[green]✓ the guest lived on[/green]: it moved in {proof.total:.2f} s and missed {gap:.0f} ms")
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
