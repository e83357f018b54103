"""Machines made of network namespaces: each has its own addresses, its own processes and cables that can be cut.

::

    machine "n1"  eth0 10.77.0.1 ──┐                 ┌── eth0 10.77.0.2  machine "n2"
                  eth1 10.77.1.1 ──┼── bridges in a ──┼── eth1 10.77.1.2
                                   └── switch of its own

A cut is silent, as a dead switch between two others is: packets are dropped on both ways and nobody is told. A cable
that is pulled takes the carrier away. Links can be made slow and lossy. All namespaces have names that no other run
has, and are removed with everything that runs in them when the fabric is closed.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from tests.waiting import PATIENCE

NETWORKS: Final = ("10.77.0", "10.77.1")
"""Networks that every machine is on, by what their addresses begin with: the cluster's, and one for migrations."""
TABLE: Final = "inet quorate_test"
PREFERRED: Final = -15
"""The niceness of what is preferred."""


def why_not() -> str | None:
    """Say why this machine cannot make network namespaces; None when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (packages iproute2, nftables)"
    name = f"q{os.getpid():x}try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"ip netns add: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


class Machine:
    """One machine: a network namespace and what runs in it."""

    def __init__(self, fabric: "Fabric", name: str, number: int) -> None:
        """Know the machine; the fabric makes it."""
        self._fabric = fabric
        self.name = name
        self.number = number
        self.namespace = f"{fabric.prefix}{name}"

    def address(self, network: int = 0) -> str:
        """Its address on one of the networks."""
        return f"{self._fabric.networks[network]}.{self.number}"

    @property
    def prefix(self) -> tuple[str, ...]:
        """What comes before a command that shall run there."""
        return ("ip", "netns", "exec", self.namespace)

    def run(
        self, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end; its output is in the result."""
        return subprocess.run(
            [*self.prefix, *map(str, argv)],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env={**os.environ, **(env or {})},
        )

    def spawn(
        self, argv: Sequence[str | Path], log: Path, *, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command there, in a session of its own."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [*self.prefix, *map(str, argv)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )

    def pids(self) -> tuple[int, ...]:
        """Every process that runs there."""
        listed = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False)
        return tuple(int(word) for word in listed.stdout.split())

    def pids_of(self, *words: str) -> tuple[int, ...]:
        """The processes there whose command line has all these words in it."""
        found = []
        for pid in self.pids():
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if all(word in line for word in words):
                    found.append(pid)
        return tuple(found)

    def signal(self, pids: Sequence[int], number: signal.Signals) -> None:
        """Send a signal to processes; those that are gone already do not count."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def prefer(self) -> None:
        """Let what runs there come before whatever else the computer does: a session each has its share otherwise."""
        for pid in self.pids():
            with suppress(OSError):  # it is gone, or the kernel does not group by sessions
                Path(f"/proc/{pid}/autogroup").write_text(str(PREFERRED), encoding="ascii")
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, pid, PREFERRED)

    def kill_everything(self) -> None:
        """What pulling the power plug does: every process there is gone when this returns."""
        deadline = time.monotonic() + PATIENCE
        while pids := self.pids():
            self.signal(pids, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes of {self.name} do not end: {pids}")
            time.sleep(0.01)

    # --- cables ----------------------------------------------------------------------------------------------------

    def cut(self, *addresses: str) -> None:
        """Drop everything to and from these addresses; without any, everything but the machine's own loopback."""
        rules = [f"add table {TABLE}"]
        for hook, side in (("input", "saddr"), ("output", "daddr")):
            chain = f"{TABLE} {hook}"
            rules.append(f"add chain {chain} {{ type filter hook {hook} priority 0 ; }}")
            if addresses:
                rules += [f"add rule {chain} ip {side} {address} drop" for address in addresses]
            else:
                device = "iifname" if hook == "input" else "oifname"
                rules.append(f'add rule {chain} {device} != "lo" drop')
        self._nft(rules)

    def cut_but(self, address: str, port: int, larger: int = 0) -> None:
        """Drop all TCP to and from an address but that of one port, at either end: what passes there goes on.

        With ``larger``, packets of more bytes than that alone, as a network does that cannot carry them.
        """
        rules = [f"add table {TABLE}"]
        for hook, side in (("input", "saddr"), ("output", "daddr")):
            chain = f"{TABLE} {hook}"
            rules.append(f"add chain {chain} {{ type filter hook {hook} priority 0 ; }}")
            rules += [f"add rule {chain} ip {side} {address} tcp {end} {port} accept" for end in ("sport", "dport")]
            rules.append(f"add rule {chain} ip {side} {address} ip length > {larger} meta l4proto tcp drop")
        self._nft(rules)

    def lose(self, share: float, network: int = 0) -> None:
        """Lose a share of all packets that come in from a network, each by its own chance.

        The sender's packets are made as small as on a real cable first: the kernel would pass on 64 KiB at a time, and
        lose them at a time.
        """
        for machine in self._fabric.machines.values():
            _ip("-n", machine.namespace, "link", "set", f"eth{network}", "gso_max_segs", "1")
        chain = f"{TABLE} loss"
        dice = f"numgen random mod 10000 < {round(share * 10_000)}"
        self._nft(
            [
                f"add table {TABLE}",
                f"add chain {chain} {{ type filter hook input priority -1 ; }}",
                f'add rule {chain} iifname "eth{network}" {dice} counter drop',
            ]
        )

    def lost(self) -> int:
        """How many packets `lose` has lost until now."""
        listed = self.run(["nft", "list", "chain", *TABLE.split(), "loss"]).stdout
        found = re.search(r"packets (\d+)", listed)
        return 0 if found is None else int(found[1])

    def limit(self, bits_per_second: int, network: int = 0) -> None:
        """Send no faster into a network than this, headers included."""
        shape(self.namespace, f"eth{network}", bits_per_second)

    def unlimit(self, network: int = 0) -> None:
        """Send as fast as the computer can, again."""
        command = ["tc", "-n", self.namespace, "qdisc", "del", "dev", f"eth{network}", "root"]
        subprocess.run(command, check=False, capture_output=True)

    def unplug(self, network: int = 0) -> None:
        """Pull the cable to a network: there is no carrier any more."""
        _ip("-n", self._fabric.switch, "link", "set", f"p{self.number}n{network}", "down")

    def plug(self, network: int = 0) -> None:
        """Put the cable back."""
        _ip("-n", self._fabric.switch, "link", "set", f"p{self.number}n{network}", "up")

    def heal(self) -> None:
        """Mend every cut and loss, and have every cable in its place."""
        self._nft([f"add table {TABLE}", f"delete table {TABLE}"])
        for network in range(len(self._fabric.networks)):
            self.plug(network)

    def _nft(self, rules: Sequence[str]) -> None:
        subprocess.run([*self.prefix, "nft", "-f", "-"], input="\n".join(rules), text=True, check=True)


class Fabric:
    """The machines and the switch between them; a context manager that leaves nothing behind."""

    def __init__(self, names: Sequence[str], networks: Sequence[str] = NETWORKS, first: int = 1) -> None:
        """Have machines of these names; the first has the addresses that end in 1, or in another number."""
        self.networks = tuple(networks)
        self.prefix = f"q{os.getpid():x}{time.monotonic_ns() & 0xFFFFF:x}"
        self.switch = f"{self.prefix}sw"
        """The namespace of the switch."""
        self.machines = {name: Machine(self, name, number) for number, name in enumerate(names, start=first)}

    def __enter__(self) -> Self:
        """Make everything."""
        try:
            _ip("netns", "add", self.switch)
            for network in range(len(self.networks)):
                _ip("-n", self.switch, "link", "add", f"br{network}", "type", "bridge")
                _ip("-n", self.switch, "link", "set", f"br{network}", "up")
            for machine in self.machines.values():
                self._plug(machine)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Take everything away."""
        self.close()

    def close(self) -> None:
        """End what runs and remove the namespaces."""
        for machine in self.machines.values():
            machine.kill_everything()
            subprocess.run(["ip", "netns", "del", machine.namespace], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.switch], capture_output=True, check=False)

    def __getitem__(self, name: str) -> Machine:
        """Give a machine."""
        return self.machines[name]

    def _plug(self, machine: Machine) -> None:
        name = machine.namespace
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
        for network in range(len(self.networks)):
            port = f"p{machine.number}n{network}"
            device = f"eth{network}"
            _ip("-n", self.switch, "link", "add", port, "type", "veth", "peer", "name", device, "netns", name)
            _ip("-n", self.switch, "link", "set", port, "master", f"br{network}", "up")
            _ip("-n", name, "addr", "add", f"{machine.address(network)}/24", "dev", device)
            _ip("-n", name, "link", "set", device, "up")


def shape(namespace: str, device: str, bits_per_second: int) -> None:
    """Let a device send no faster than this. Raises CalledProcessError when the kernel has no token bucket filter."""
    burst = max(128 << 10, bits_per_second // 8000)  # a millisecond's worth
    shaper = ["tbf", "rate", f"{bits_per_second}bit", "burst", str(burst), "latency", "20ms"]
    command = ["tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", *shaper]
    subprocess.run(command, check=True, capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
