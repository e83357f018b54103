"""Which hypervisor a node has, as its configuration says."""

from quorate.hypervisor.contract import Hypervisor
from quorate.service.configuration import NodeConfiguration

FAKE_MEMORY = 64 << 30
"""Bytes of a fake host whose configuration does not say how much it has."""
FAKE_BEAT = 5
"""Lines a second that a fake guest writes into its serial log: there may be hundreds in one process."""


def open_driver(configuration: NodeConfiguration) -> Hypervisor:
    """Make the node's driver; nothing is started.

    The fake one has its virtual machines in this process: they end with it, and none moves to another daemon.
    """
    if configuration.is_fake:
        from quorate.hypervisor.fake import FakeHypervisor, FakeWorld

        world = FakeWorld(beat_hz=FAKE_BEAT)
        return FakeHypervisor(world, memory_total=configuration.memory or FAKE_MEMORY)
    from quorate.hypervisor.qemu.driver import QemuHypervisor, QemuSettings

    settings = QemuSettings(
        cache=configuration.accelerator_cache or configuration.state / "accelerator.json",
        storages=configuration.storages,
        switches=configuration.switches,
        account=configuration.qemu_account,
    )
    return QemuHypervisor(settings)
