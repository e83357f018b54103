"""What a test does with any cluster through its client, and how it waits; where its files are is not known here."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.waiting import PATIENCE

from quorate.client.blocking import BlockingClient
from quorate.clusapi.control_codes import CLUSCTL_CLUSTER_SET_COMMON_PROPERTIES
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.json_types import JsonObject, json_int, json_object, json_text
from quorate.clusapi.operation_values import FieldValue, Values
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list
from quorate.clusapi.states import VmState
from quorate.engine.guard_file import GUARD_FILE, GuardFile, boottime


class ClusterUnderTest:
    """A cluster of real processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.client = BlockingClient(())

    def client_of(self, node: str) -> BlockingClient:
        """A client that speaks with this node only."""
        return BlockingClient(tuple(n for n in self.client.nodes if n.name == node))

    def call(self, operation: str, **inputs: FieldValue) -> Values:
        return self.client.call(operation, full_access=True, **inputs)

    # --- the cluster's properties ----------------------------------------------------------------------------------

    def runtimes(self) -> list[Path]:
        """The runtime directories of all nodes."""
        raise NotImplementedError

    def set_lease(self, seconds: int) -> None:
        """Let leases last so long, 3 to 120 s, and wait until they do.

        Who kills a daemon and wants it back in time needs more than the usual 5 s on a busy machine: when the lease is
        over, the guard ends what the daemon ran.
        """
        self.set_cluster("SameSubnetThreshold", seconds)
        for runtime in self.runtimes():
            file = GuardFile(runtime / GUARD_FILE)
            try:
                self.wait(lambda file=file: _runs_for(file, seconds), 30, f"{runtime} has such a lease")  # type: ignore[misc]
            finally:
                file.close()

    def trust_all(self) -> None:
        """Quarantine no node: tests take nodes away more often than three times within an hour."""
        self.set_cluster("QuarantineDuration", 0)

    def set_cluster(self, name: str, value: int) -> None:
        """Set a common property of the cluster that is a number."""
        data = pack_property_list(PropertyList.of([(name, PropertyFormat.DWORD, value)]))
        self.call("ClusterControl", control_code=CLUSCTL_CLUSTER_SET_COMMON_PROPERTIES, in_buffer=data)

    # --- virtual machines ------------------------------------------------------------------------------------------

    def create_vm(self, name: str, definition: JsonObject, *, start: bool = True) -> None:
        self.call("CreateVirtualMachine", name=name, definition=definition)
        if start:
            self.call("OnlineGroup", group=name)
            self.wait(lambda: self.vm_state(name) is VmState.RUNNING, 60, f"{name} runs")

    def create_builtin(self, name: str, memory: str = "128M", *, start: bool = True, **guest: int) -> None:
        """A VM of the built-in guest; ``guest``: beat_hz, fill_bytes, dirty_bytes, dirty_bytes_per_second."""
        self.create_vm(name, {"name": name, "memory": memory, "guest": {"kind": "builtin", **guest}}, start=start)

    def vm(self, name: str) -> JsonObject:
        return json_object(self.call("GetVirtualMachine", vm=name).as_json(), "virtual_machine")

    def vm_state(self, name: str) -> VmState:
        return VmState(json_int(self.vm(name), "vm_state"))

    def owner(self, name: str) -> str:
        return json_text(self.vm(name), "node")

    def migration_state(self, name: str) -> int:
        return json_int(json_object(self.vm(name), "migration"), "migration_state")

    # --- waiting ------------------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Wait for a condition; refusals and faults on the way count as "not yet".

        ``timeout`` is what a test expects, in seconds; a machine that is busy with something else gets more.
        """
        timeout = max(timeout, 2 * PATIENCE)
        deadline = time.monotonic() + timeout
        last: ClusterError | None = None
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except ClusterError as error:
                last = error
            time.sleep(0.02)
        raise AssertionError(f"not within {timeout:.0f} s: {what}" + (f" ({last})" if last else "") + self.last_words())

    def last_words(self) -> str:
        """What the daemons said last, for the message of a test that fails."""
        lines = []
        for log in sorted(self.directory.glob("nodes/*/daemon.log")):
            lines += [f"\nnode{log.parent.name}: {line}" for line in log.read_text(errors="replace").splitlines()[-25:]]
        return "".join(lines)


def _runs_for(file: GuardFile, seconds: int) -> bool:
    word = file.word()
    return word is not None and word.duration == seconds and word.deadline > boottime() + seconds - 2
