"""A cluster of several machines for a test, made by the commands that people type.

Machines are network namespaces: three nodes, and three members of etcd on machines of their own or on the nodes'.
Daemons are started and killed by the test, as systemd and a power plug would. All is looked at from outside: processes
by the namespace that they run in, guests by their serial logs.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.contract.etcd_cluster import EtcdCluster, Place
from tests.system.cluster_under_test import ClusterUnderTest
from tests.system.machines.fabric import Fabric, Machine

from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.json_types import json_int, json_objects, json_text, json_texts
from quorate.clusapi.states import NodeState
from quorate.service.configuration import read_configuration
from quorate.service.keeper import DAEMON_LOCK, lock_is_held

NODES: Final = ("node1", "node2", "node3")
MEMBERS: Final = ("etcd1", "etcd2", "etcd3")
QUORATE: Final = Path(sys.executable).with_name("quorate")
HTTPS_PORT: Final = 7443
PEERS_PORT: Final = 7444
UP: Final = 30.0
"""Seconds within which a daemon must be up; it takes one or two."""


class MachineCluster(ClusterUnderTest):
    """The cluster."""

    def __init__(
        self,
        directory: Path,
        runtime: Path,
        fabric: Fabric,
        etcd: EtcdCluster,
        environment: Mapping[str, str],
        nodes: Sequence[str] = NODES,
        peers_network: int = 0,
    ) -> None:
        super().__init__(directory)
        self.nodes = tuple(nodes)
        self._peers_network = peers_network
        self.fabric = fabric
        self.etcd = etcd
        self._runtime = runtime
        self._common = dict(environment)
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.environment: dict[str, dict[str, str]] = {}
        """What one node's daemon has in its environment besides."""
        self._vm_ids: dict[str, str] = {}

    # --- making it -------------------------------------------------------------------------------------------------

    def make(self, nodes: Sequence[str] = (), *, settings: Sequence[str] = ()) -> None:
        """Create the cluster on the first node, let the others join, start every daemon.

        ``settings`` are lines for every node's configuration, written before its daemon is started.
        """
        nodes = nodes or self.nodes
        first, *others = nodes
        self._write_addresses(nodes)
        etcd = self.etcd
        pair = etcd.client
        access: list[str | Path] = ["--etcd-ca", etcd.authority.certificate]
        access += ["--etcd-cert", pair.certificate, "--etcd-key", pair.key]
        endpoints = ",".join(etcd.endpoints)
        self.quorate(first, "cluster", "create", "machines", "--etcd", endpoints, *access, *self._place(first))
        self._configure(first, settings)
        self.start_daemon(first)
        self.client = BlockingClient.at(str(self.directory))
        self.wait_up(first)
        # Tests take nodes away more often than three times within an hour.
        self.quorate(first, "--cluster", self.directory, "cluster", "set", "QuarantineDuration=0")
        for node in others:
            token = self.quorate(first, "--cluster", self.directory, "node", "token").strip().splitlines()[-1]
            self.quorate(node, "node", "join", token, *self._place(node))
            self._configure(node, settings)
            self.start_daemon(node)
        for node in others:
            self.wait_up(node)

    def _place(self, node: str) -> list[str | Path]:
        address = self.fabric[node].address()
        peers = self.fabric[node].address(self._peers_network)
        place = self.state(node)
        place.mkdir(parents=True, exist_ok=True)
        return [
            "--node",
            node,
            "--listen",
            f"{address}:{HTTPS_PORT}",
            "--peers",
            f"{peers}:{PEERS_PORT}",
            "--state",
            place,
            "--runtime",
            self.runtime(node),
            "--saved",
            self.directory / "saved",
            "--storage-root",
            self.directory / "disks",
        ]

    def _configure(self, node: str, settings: Sequence[str]) -> None:
        """Put lines before the file's own, which end in tables."""
        path = self.state(node) / "node.toml"
        path.write_text("".join(f"{line}\n" for line in settings) + path.read_text(encoding="utf-8"), encoding="utf-8")

    def _write_addresses(self, nodes: Sequence[str]) -> None:
        listed = [{"name": node, "http": str(self.runtime(node) / "http")} for node in nodes]
        (self.directory / "cluster.json").write_text(json.dumps({"nodes": listed}))
        (self.directory / "disks").mkdir(exist_ok=True)

    def quorate(self, node: str, *words: str | Path) -> str:
        """Type a command on a node; its output. Raises AssertionError when it fails."""
        done = self.fabric[node].run([QUORATE, *words])
        assert done.returncode == 0, f"quorate {' '.join(map(str, words))}: {done.stdout}{done.stderr}"
        return done.stdout

    # --- nodes -----------------------------------------------------------------------------------------------------

    def state(self, node: str) -> Path:
        return self.directory / "nodes" / node.removeprefix("node")

    def runtime(self, node: str) -> Path:
        return self._runtime / node.removeprefix("node")

    def runtimes(self) -> list[Path]:
        return [self.runtime(node) for node in self.nodes]

    def machine(self, node: str) -> Machine:
        return self.fabric[node]

    def start_daemon(self, node: str, *, after_the_last: bool = False) -> None:
        """What systemd does; `after_the_last`: the one that runs was told to end, and has to be gone first."""
        if after_the_last:
            self.wait(lambda: not lock_is_held(self.state(node) / DAEMON_LOCK), UP, f"the daemon of {node} ends")
        configuration = self.state(node) / "node.toml"
        log = self.state(node) / "daemon.log"
        argv: list[str | Path] = [QUORATE, "node", "run", "--config", configuration]
        self._daemons.append(self.fabric[node].spawn(argv, log, env={**self._common, **self.environment.get(node, {})}))

    def daemon_pid(self, node: str) -> int:
        lock = self.state(node) / "daemon.lock"
        return int(lock.read_text(encoding="ascii"))

    def guard_pids(self, node: str) -> tuple[int, ...]:
        return self.fabric[node].pids_of("quorate.service.guard")

    def qemu_pids(self, node: str) -> tuple[int, ...]:
        return self.fabric[node].pids_of("qemu-system")

    def signal_daemon(self, node: str, number: signal.Signals) -> None:
        self.fabric[node].signal((self.daemon_pid(node),), number)

    def reap(self) -> None:
        """Take note of the daemons that have ended, so that no zombie is left."""
        self._daemons = [daemon for daemon in self._daemons if daemon.poll() is None]

    def node_state(self, node: str, seen_by: str | None = None) -> NodeState:
        """The state of a node as the cluster, or one of its nodes, has it."""
        client = self.client if seen_by is None else self.client_of(seen_by)
        listed = json_objects(client.call("ListNodes").as_json(), "nodes")
        return next(NodeState(json_int(found, "state", -1)) for found in listed if json_text(found, "name") == node)

    def wait_up(self, *nodes: str) -> None:
        """Wait until nodes are up in their own eyes and in the others'."""
        for node in nodes or self.nodes:
            self.wait(lambda node=node: self.node_state(node, node) is NodeState.UP, UP, f"{node} is up")  # type: ignore[misc]
            self.wait(lambda node=node: self.node_state(node) is NodeState.UP, UP, f"{node} is seen up")  # type: ignore[misc]

    def make_whole(self) -> None:
        """Mend what is broken: cables, members of etcd, daemons; return when every node is up."""
        for machine in self.fabric.machines.values():
            machine.heal()
        self.reap()
        for member in self.etcd.members:
            if member.is_running:
                member.thaw()
            else:
                member.start()
        self.etcd.wait_healthy()
        for node in self.nodes:
            lock = self.state(node) / DAEMON_LOCK
            if lock_is_held(lock):
                self.signal_daemon(node, signal.SIGCONT)
            else:
                self.start_daemon(node)
        self.wait_up()

    def network_names(self) -> dict[str, str]:
        """The names of the networks that all nodes are on, by what their addresses begin with."""
        found = self.call("ListNetworks").objects("networks")
        return {
            json_texts(one, "subnets")[0].removesuffix(".0/24"): json_text(one, "name")
            for one in found
            if len(json_objects(one, "interfaces")) == len(self.nodes)
        }

    def keep_memory_on(self, network: int) -> None:
        """Have memory of virtual machines take this network and no other."""
        prefixes = self.fabric.networks
        self.wait(lambda: len(self.network_names()) == len(prefixes), 60, "all networks are found by all")
        others = ";".join(name for at, name in self.network_names().items() if at != prefixes[network])
        wish = f"MigrationExcludeNetworks={others}"
        self.quorate(self.nodes[0], "--cluster", self.directory, "type", "set", "Virtual Machine", wish)

    def remove_vm(self, name: str) -> None:
        """Turn a virtual machine off and delete it."""

        def removed() -> bool:
            self.call("DeleteVirtualMachine", vm=name, turn_off=True)
            return True

        self.wait(removed, UP, f"{name} is deleted")
        self._vm_ids.pop(name, None)

    def vm_id(self, name: str) -> str:
        if name not in self._vm_ids:
            self._vm_ids[name] = json_text(self.vm(name), "vm")
        return self._vm_ids[name]

    def coordinator(self) -> str:
        """The node that decides for the cluster."""
        return json_text(self.client.call("GetStatus").json("cluster"), "coordinator")

    def answers(self, node: str) -> bool:
        try:
            self.client_of(node).call("GetClusterInformation")
        except ClusterError:
            return False
        return True

    # --- guests ----------------------------------------------------------------------------------------------------

    def serial_log(self, vm_id: str, node: str) -> Path:
        return read_configuration(self.state(node) / "node.toml").state / "vms" / f"{vm_id}.serial.log"

    # --- the end ---------------------------------------------------------------------------------------------------

    def end(self) -> None:
        for node in self.nodes:
            if node in self.fabric.machines:
                self.fabric[node].kill_everything()
        for daemon in self._daemons:
            daemon.wait()
        self.etcd.close()


@contextmanager
def machines(
    directory: Path,
    *,
    etcd_on_nodes: bool = False,
    environment: Mapping[str, str] | None = None,
    settings: Sequence[str] = (),
    nodes: Sequence[str] = NODES,
    members: Sequence[str] = MEMBERS,
    peers_network: int = 0,
) -> Iterator[MachineCluster]:
    """Three machines with daemons, and three members of etcd, on machines of their own unless said otherwise.

    `environment`: what every daemon has in its environment besides; `settings`: lines for every node's configuration;
    `peers_network`: on which network the nodes speak to each other and send memory, clients and etcd are on the first.
    """
    hosts = nodes if etcd_on_nodes else members
    names = nodes if etcd_on_nodes else (*nodes, *members)
    runtime = Path(tempfile.mkdtemp(prefix="qm"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with Fabric(names) as fabric:
            places = [Place(fabric[host].address(), fabric[host].prefix) for host in hosts]
            etcd = EtcdCluster(directory / "etcd", places)
            etcd.start()
            cluster = MachineCluster(directory, runtime, fabric, etcd, environment or {}, nodes, peers_network)
            try:
                cluster.make(settings=settings)
                yield cluster
            finally:
                cluster.end()
    finally:
        shutil.rmtree(runtime, ignore_errors=True)
