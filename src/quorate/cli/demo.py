"""`quorate demo`: a pocket cluster, one virtual machine, one live migration, one dead node, and the proof.

The first act is a live migration by START_MIGRATION; in the second everything on the node that hosts the virtual
machine is killed. The proof is taken from outside: the guest counts on its serial port, the nodes' serial logs are
watched with the clock of this process, and the processes are those that the operating system shows.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from quorate.cli import output
from quorate.cli.demo_proof import DESTINATION, SOURCE, VM, FailoverProof, Proof
from quorate.cli.demo_view import PICTURE, bar, console_of_demo, show, step
from quorate.client.address import CLUSTER_FILE
from quorate.client.blocking import BlockingClient
from quorate.client.functions import ClusterResourceControl, OpenCluster, OpenClusterResource
from quorate.client.watching import MigrationWatch
from quorate.clusapi.control_codes import CLUSCTL_RESOURCE_VM_START_MIGRATION
from quorate.clusapi.errors import ClusterError, FaultError, error_from_status
from quorate.clusapi.json_types import JsonObject, json_int, json_object, json_objects, json_text
from quorate.clusapi.states import MigrationState, ResourceState, VmState
from quorate.clusapi.status import Status
from quorate.hypervisor.serial_watch import SerialWatch

if TYPE_CHECKING:
    from rich.console import Console

DEFINITION: JsonObject = {
    "name": VM,
    "memory": "256M",
    "guest": {"kind": "builtin", "fill_bytes": 64 << 20, "dirty_bytes": 8 << 20, "dirty_bytes_per_second": 64 << 20},
}
BEATS_BEFORE = 50
BEATS_AFTER = 100
RETURN = 30.0
"""Seconds that the second act waits for the guest's return."""


def demo(*, keep: bool = False, dir: Path | None = None, svg: Path | None = None) -> int:
    """Live-migrate a virtual machine, then kill the node that it is on; prove that it lived on, and came back.

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
    console = console_of_demo(record=svg is not None)
    proof = Proof()
    is_ours = not (directory / CLUSTER_FILE).exists()
    try:
        with step(console, "a pocket cluster of three nodes: three daemons, one SQLite file"):
            pocket.start(directory, 3)
        client = BlockingClient.at(str(directory))
        with step(console, f"{VM}: a virtual machine of 256 MiB that counts on its serial port"):
            _start_vm(client)
        _migrate(client, directory, console, proof)
        with step(console, f"kill -9 of everything on {proof.owner_after}: daemon, guard and QEMU"):
            _lose_the_node(client, directory, proof)
    except ClusterError as error:
        proof.stopped_by = str(error)
    finally:
        if not keep:
            proof.not_taken_down = _take_down(directory, is_ours=is_ours)
            if dir is None:
                _remove(directory)
    show(console, proof, keep=keep, directory=directory)
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
    with bar(console) as tell:
        for progress in watch:
            tell(progress)
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


def _lose_the_node(client: BlockingClient, directory: Path, proof: Proof) -> None:
    """Play the second act: the node that hosts the virtual machine loses its power."""
    from quorate.service.pocket_power import power_off, power_on

    before = _facts(client)
    victim = json_text(before, "node")
    act = proof.failover = FailoverProof(victim, epoch_before=json_int(before, "epoch"))
    old = Path(json_text(before, "serial_log"))
    number = victim.removeprefix("node")
    others = [Path(str(old).replace(f"/nodes/{number}/", f"/nodes/{n}/")) for n in ("1", "2", "3") if n != number]
    with SerialWatch(old, *others, from_end=True) as watch:
        if not watch.wait_beats(BEATS_BEFORE, 10.0):
            raise FaultError(Status.ERROR_TIMEOUT, "the guest does not count before its node dies")
        power_off(directory, number)
        died = max(line.at for line in watch.lines)
        act.count_before = watch.report().last or 0

        def again() -> list[float]:
            return [line.at for line in watch.lines if line.source != old and line.count is not None]

        _wait(lambda: len(again()) >= BEATS_AFTER, RETURN, f"{VM} counts on another node")
        act.silence = again()[0] - died
        act.count_after = watch.report().last or 0
        act.interleaved = watch.report().interleaved
    after = _facts(client)
    act.owner_after, act.epoch_after = json_text(after, "node"), json_int(after, "epoch")
    act.left_over = _qemus_of(client, victim)
    told = [
        e for e in json_objects(client.call("GetEvents").as_json(), "events") if json_text(e, "kind") == "group.owner"
    ]
    act.sentence = json_text(told[-1], "sentence") if told else ""
    power_on(directory, number)


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
        lost = pocket.stop(directory)
        fault = f"QEMU processes were ended unsaved: {', '.join(map(str, lost))}" if lost else ""
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
