"""Where a node keeps its files. Everything that belongs to a VM is named by the VM's id, never by its name."""

from dataclasses import dataclass
from pathlib import Path

from quorate.clusapi.identity import ImageId, VmId
from quorate.engine.guard_file import GUARD_FILE
from quorate.hypervisor.contract import VmPaths


@dataclass(frozen=True, slots=True)
class NodePaths:
    """The directories of one node.

    `state` is the node's own and lasts; `runtime` is short (socket paths have at most 107 bytes) and need not outlive
    the machine; `saved` lies on storage that every node sees, so that a saved VM can be restored anywhere.
    """

    state: Path
    runtime: Path
    saved: Path

    @property
    def vm(self) -> VmPaths:
        """The directories of the node's VMs."""
        return VmPaths(directory=self.state / "vms", runtime=self.runtime)

    @property
    def http_socket(self) -> Path:
        """Where the node answers clients."""
        return self.runtime / "http"

    @property
    def peers_socket(self) -> Path:
        """Where the node answers other nodes."""
        return self.runtime / "peers"

    @property
    def guard_file(self) -> Path:
        """What the daemon and the guard share."""
        return self.runtime / GUARD_FILE

    def saved_image(self, vm_id: VmId, image: ImageId) -> Path:
        """The file of a saved memory image."""
        return self.saved / f"{vm_id}.{image}.saved"

    def create(self) -> None:
        """Make the directories, readable by their owner only."""
        for directory in (self.state, self.runtime, self.saved, self.vm.directory):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)


def boot_id() -> str:
    """Tell this boot of the machine from every other: what was noted under another one lost its processes with it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
