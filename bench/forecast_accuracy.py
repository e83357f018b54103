"""How right the forecasts of dry runs are: guests are moved over limited links, each move foretold just before.

    .venv/bin/python -m bench.forecast_accuracy               # sixty moves, some eighteen minutes; writes the page
    .venv/bin/python -m bench.forecast_accuracy --moves 10    # so many; docs/forecast.md stays as it is

Machines are network namespaces (tests/system/machines), and the kernel limits the link between them. The forecast is
the operation ForecastMove; nothing else is measured for it. What came of the move is what the cluster keeps of it
(ListMigrations), with the gap as heard from outside beside it. Exit code 0: the aims are reached; 1: they are not, or
something went wrong.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.system.machines.machine_cluster import MachineCluster, machines

from bench import forecast_report, limited_link, machine
from bench.guests import MIB, Workload, pin
from quorate.client.functions import ClusterResourceControl, OpenCluster, OpenClusterResource
from quorate.clusapi.control_codes import CLUSCTL_CLUSTER_SET_COMMON_PROPERTIES, CLUSCTL_RESOURCE_VM_START_MIGRATION
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.json_types import JsonObject, json_float, json_int, json_object, json_text
from quorate.clusapi.migration_input import pack_destination
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list
from quorate.engine.link_probe import FRESH
from quorate.hypervisor.definition import BuiltinGuest
from quorate.hypervisor.serial_watch import SerialWatch

BEAT_HZ: Final = 250
NODES: Final = ("node1", "node2")
HOPS: Final = 4
"""Moves of each guest, there and back."""
MOVES: Final = 60
_PATIENCE: Final = 120.0
_LOOK: Final = 0.2
_LISTEN_ON: Final = 0.3


@dataclass(frozen=True, slots=True)
class Case:
    """A guest on a link. Rates are bytes per second, but the link's, which is in bits."""

    link: int
    workload: Workload
    policy: str


def _case(link: int, memory: int, filled: int, written: int, rate: int, policy: str = "default") -> Case:
    """Make a case of so many Mb/s and MiB: of memory, filled and left alone, written to; at so many MB/s."""
    guest = BuiltinGuest(
        beat_hz=BEAT_HZ,
        fill_bytes=filled * MIB,
        dirty_bytes=written * MIB,
        dirty_bytes_per_second=rate * 1_000_000,
    )
    name = f"l{link}m{memory}w{written}r{rate}{policy[0]}"
    return Case(link * 1_000_000, Workload(name, f"{filled + written} MiB used", memory * MIB, guest), policy)


CASES: Final = (
    _case(1000, 256, 128, 16, 10),
    _case(1000, 512, 256, 64, 60),
    _case(1000, 512, 200, 48, 30),
    _case(1000, 384, 160, 96, 80),
    _case(1000, 160, 96, 8, 150),
    _case(1000, 256, 128, 0, 0),
    _case(1000, 256, 64, 64, 150, "gentle"),
    _case(1000, 512, 128, 100, 200),
    _case(500, 256, 100, 32, 10),
    _case(500, 256, 100, 32, 30),
    _case(500, 256, 64, 8, 80),
    _case(500, 256, 64, 48, 90, "gentle"),
    _case(200, 160, 48, 8, 3),
    _case(200, 160, 32, 16, 12),
    _case(200, 160, 32, 16, 40, "gentle"),
)
"""Some of them write faster than their link carries, over so much memory that no pass comes to an end: held back by the
policy "default", not moved by "gentle"."""


@dataclass(frozen=True, slots=True)
class Record:
    """One move: the guest as it was made, what the dry run saw and foretold, and what came of it.

    Times are seconds, sizes MiB, rates MB/s; the link Mb/s. 0 is what was not foretold, or did not happen.
    """

    guest: str
    policy: str
    link: int
    memory: int
    used: int
    written: int
    writes: int
    seen_used: int
    seen_writes: float
    seen_written: int
    seen_link: float
    past: int
    verdict: str
    result: str
    foretold_total: float
    total: float
    low_total: float
    high_total: float
    foretold_gap: float
    gap: float
    gap_outside: float
    foretold_passes: int
    passes: int
    foretold_sent: int
    sent: int
    busy: float
    sentence: str


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m bench.forecast_accuracy", description="Judge the forecasts.")
    parser.add_argument("--moves", type=int, help=f"so many of the {MOVES}; the page stays as it is")
    moves = parser.parse_args().moves
    return 0 if run(moves or MOVES, for_document=moves is None) else 1


def run(moves: int = MOVES, *, for_document: bool = True) -> bool:
    """Make the moves, tell, and write the page; answers whether the aims are reached."""
    reason = limited_link.why_not()
    if reason is not None:
        print(f"forecasts are not judged: {reason}", flush=True)
        return True
    made: list[Record] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="qf-") as name:
        directory = Path(name)
        accelerator = pin(CASES[0].workload, directory / "accelerator").accelerator.value
        examined = machine.examine(accelerator)
        with machines(directory / "machines") as cluster:
            _send_plainly(cluster)
            link = 0
            for case, hops in _plan(moves):
                if link not in (0, case.link):
                    time.sleep(FRESH)  # what was measured of the link before serves no more then
                link = case.link
                made += _move(cluster, case, hops, failures)
    return forecast_report.tell(examined, made, failures, for_document=for_document)


def _send_plainly(cluster: MachineCluster) -> None:
    """Have memory cross the link as it is: how well a guest's pages can be compressed nobody foretells.

    A cluster that does not know the property answers so, and compresses nothing.
    """
    data = pack_property_list(PropertyList.of([("MigrationCompression", PropertyFormat.DWORD, 0)]))
    cluster.call("ClusterControl", control_code=CLUSCTL_CLUSTER_SET_COMMON_PROPERTIES, in_buffer=data)


def _plan(moves: int) -> Iterator[tuple[Case, int]]:
    """Divide the moves evenly among the cases."""
    each, more = divmod(moves, len(CASES))
    step = len(CASES) / more if more else 0.0
    longer = {int(number * step) for number in range(more)}
    for number, case in enumerate(CASES):
        if hops := each + (number in longer):
            yield case, hops


def _move(cluster: MachineCluster, case: Case, hops: int, failures: list[str]) -> Iterator[Record]:
    """Start a guest, move it so many times, and delete it."""
    name = case.workload.name
    for node in NODES:
        limited_link.limit(cluster.machine(node), case.link)
    cluster.call("CreateVirtualMachine", name=name, definition={**case.workload.to_json(), "name": name}, node=NODES[0])
    try:
        logs = [cluster.serial_log(cluster.vm_id(name), node) for node in NODES]
        with SerialWatch(*logs) as watch:
            cluster.call("OnlineGroup", group=name)
            if not watch.wait_beats(2 * BEAT_HZ, _PATIENCE):
                raise TimeoutError(f"{name} is not heard{cluster.last_words()}")
            for _ in range(hops):
                record = _hop(cluster, case, watch)
                print(forecast_report.line(record), flush=True)
                yield record
    except (ClusterError, AssertionError, OSError, RuntimeError) as error:
        failures.append(f"{name}: {error}")
        print(failures[-1].splitlines()[0], flush=True)
    finally:
        cluster.remove_vm(name)


def _hop(cluster: MachineCluster, case: Case, watch: SerialWatch) -> Record:
    """Foretell one move, and make it."""
    name, guest = case.workload.name, case.workload.guest
    source = cluster.owner(name)
    destination = NODES[1 - NODES.index(source)]
    newest = max((json_int(one, "sequence") for one in _past(cluster, 0)), default=0)
    busy = machine.busy_share(0.2)
    answer = cluster.call("ForecastMove", vm=name, destination=destination, policy=case.policy)
    if answer.number("status"):
        raise RuntimeError(f"the dry run was refused: {answer.text('sentence')}")
    forecast = answer.json("forecast")
    if json_text(forecast, "absent"):
        raise RuntimeError(f"nothing was foretold: {json_text(forecast, 'absent')}")
    requested = time.monotonic()
    resource = OpenClusterResource(OpenCluster(str(cluster.directory)), f"Virtual Machine {name}")
    where = pack_destination(destination, case.policy)
    status, _, _ = ClusterResourceControl(resource, None, CLUSCTL_RESOURCE_VM_START_MIGRATION, where)
    if status:
        raise RuntimeError(f"START_MIGRATION answered {status}")
    outcome = _outcome(cluster, newest)
    time.sleep(_LISTEN_ON)
    moved = json_text(outcome, "result") == "moved"
    known = json_object(forecast, "known")
    return Record(
        guest=name,
        policy=case.policy,
        link=case.link // 1_000_000,
        memory=case.workload.memory_bytes // MIB,
        used=(guest.fill_bytes + guest.dirty_bytes) // MIB,
        written=guest.dirty_bytes // MIB,
        writes=guest.dirty_bytes_per_second // 1_000_000,
        seen_used=json_int(known, "in_use") // MIB,
        seen_writes=round(_likely(known, "dirty_bytes_per_second") / 1e6, 1),
        seen_written=round(_likely(known, "working_set") / MIB),
        seen_link=round(_likely(known, "link_bytes_per_second") / 1e6, 1),
        past=json_int(known, "past_moves"),
        verdict=json_text(forecast, "verdict"),
        result=json_text(outcome, "result"),
        foretold_total=_likely(forecast, "seconds"),
        total=json_float(outcome, "seconds"),
        low_total=json_float(json_object(forecast, "seconds"), "low"),
        high_total=json_float(json_object(forecast, "seconds"), "high"),
        foretold_gap=round(_likely(forecast, "gap_ms") / 1000, 4),
        gap=round(json_float(outcome, "gap_ms") / 1000, 4) if moved else 0.0,
        gap_outside=round(_longest_silence(watch, requested), 4) if moved else 0.0,
        foretold_passes=round(_likely(forecast, "passes")),
        passes=json_int(outcome, "passes"),
        foretold_sent=round(_likely(forecast, "bytes") / MIB),
        sent=json_int(outcome, "bytes") // MIB,
        busy=round(busy, 2),
        sentence=json_text(outcome, "sentence"),
    )


def _past(cluster: MachineCluster, after: int) -> Sequence[JsonObject]:
    return cluster.call("ListMigrations", after=after or None, limit=1000).objects("migrations")


def _outcome(cluster: MachineCluster, after: int) -> JsonObject:
    """Wait until what there is to be known of the move is written."""
    found: list[JsonObject] = []

    def is_written() -> bool:
        found[:] = [one for one in _past(cluster, after) if json_int(one, "sequence") > after]
        return bool(found) and (found[-1].get("gap_ms") is not None or json_text(found[-1], "result") != "moved")

    cluster.wait(is_written, _PATIENCE, "both ends have written what they know of the move")
    return found[-1]


def _longest_silence(watch: SerialWatch, since: float) -> float:
    beats = [line for line in watch.lines if line.count is not None and line.at >= since]
    return max((after.at - last.at for last, after in pairwise(beats)), default=0.0)


def _likely(object_: JsonObject, name: str) -> float:
    return json_float(json_object(object_, name), "likely")


NAMES: Final = tuple(field.name for field in fields(Record))

if __name__ == "__main__":
    sys.exit(main())
