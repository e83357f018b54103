"""One node: everything below, built, wired and taken down in order."""

import asyncio
import os
import uuid

import structlog

import quorate
from quorate.clusapi.errors import FaultError
from quorate.clusapi.json_types import JsonObject, JsonValue, json_object, json_text
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.records import NodeFacts
from quorate.database.sqlite import SqliteBlockingStore, SqliteStore
from quorate.engine.context import EngineContext
from quorate.engine.groups import Groups
from quorate.engine.journal import Journals
from quorate.engine.lease import LeaseKeeper
from quorate.engine.migrations import Migrations
from quorate.engine.paths import NodePaths
from quorate.engine.recovery import recover
from quorate.engine.view import ClusterView
from quorate.hosting.host import Host
from quorate.hosting.registry_properties import RegistryProperties
from quorate.hypervisor.contract import Hypervisor
from quorate.peers.client import Peers
from quorate.peers.messages import Assess, OfSession, Prepare
from quorate.peers.server import PeerServer
from quorate.resources.virtual_machine import VirtualMachine
from quorate.resources.virtual_machine_configuration import VirtualMachineConfiguration
from quorate.server.dispatcher import Dispatcher
from quorate.server.http import HttpFace, build_app
from quorate.service.configuration import NodeConfiguration
from quorate.service.node_services import Services

SAME_SUBNET_DELAY = 1.0
SAME_SUBNET_THRESHOLD = 5
"""Where the cluster does not say otherwise: a lease of five seconds, renewed every second."""

_log = structlog.get_logger("node")


class Node:
    """A node's daemon, from `start` to `stop`. Stopping it never stops a virtual machine."""

    def __init__(self, configuration: NodeConfiguration, hypervisor: Hypervisor) -> None:
        """Build nothing until `start`."""
        self._configuration = configuration
        self._hypervisor = hypervisor
        self._paths = NodePaths(configuration.state, configuration.runtime, configuration.saved)

    async def start(self) -> None:
        """Come up: lease first, then what an earlier daemon left, then the doors for others."""
        configuration = self._configuration
        self._paths.create()
        self._store = SqliteStore(configuration.database)
        self._database = ClusterDatabase(self._store)
        self._view = ClusterView(self._database, configuration.node)
        await self._view.start()
        self._lease = self._new_lease()
        if not await asyncio.to_thread(self._lease.start, 30.0):
            raise FaultError(Status.ERROR_CLUSTER_NODE_DOWN, "the node's lease could not be written within 30 s")
        self._peers = Peers(self._peers_address)
        self._context = EngineContext(
            node=configuration.node,
            node_name=self._view.snapshot.node(configuration.node).name,
            database=self._database,
            hypervisor=self._hypervisor,
            view=self._view,
            lease=self._lease,
            peers=self._peers,
            journals=Journals(self._paths.runtime),
            paths=self._paths,
        )
        await self._wire()
        await recover(self._context, self._migrations, self._groups)
        self._groups.start()
        self._peer_server = PeerServer(self._paths.peers_socket, self._answer_peer)
        await self._peer_server.start()
        await self._publish_facts()
        self._http = HttpFace(build_app(self._services, self._dispatcher), self._paths.http_socket)
        await self._http.start()
        _log.info("the node is up", pid=os.getpid())

    async def _wire(self) -> None:
        self._migrations = Migrations(self._context)
        self._migrations.prepare_sessions()
        self._groups = Groups(self._context, self._migrations)
        scripts = self._configuration.scripts_directory
        self._host = Host(
            (VirtualMachine(self._migrations), VirtualMachineConfiguration(self._migrations)),
            RegistryProperties(self._database),
            self._groups,
            settings={} if scripts is None else {"scripts_directory": str(scripts)},
        )
        self._groups.bind(self._host)
        self._services = Services(self._context, self._configuration, self._host, self._migrations, self._groups)
        self._dispatcher = Dispatcher(self._services)

    def _new_lease(self) -> LeaseKeeper:
        properties = self._view.snapshot.cluster.properties
        delay = properties.number("SameSubnetDelay", int(SAME_SUBNET_DELAY * 1000)) / 1000
        threshold = properties.number("SameSubnetThreshold", SAME_SUBNET_THRESHOLD)
        database = self._configuration.database
        return LeaseKeeper(
            self._configuration.node,
            lambda: SqliteBlockingStore(database),
            lambda: str(uuid.uuid4()),
            delay=delay,
            duration=delay * threshold,
        )

    async def stop(self) -> None:
        """Go down in the opposite order; what runs is left running for the next daemon."""
        await self._http.stop()
        await self._peer_server.close()
        await self._groups.close()
        await self._host.close()
        for vm in self._migrations.all():
            if vm.instance is not None:
                await vm.instance.release()
        await self._peers.close()
        await self._view.close()
        await asyncio.to_thread(self._lease.stop)
        await self._store.close()
        _log.info("the node is down; its virtual machines go on")

    # --- the other nodes -------------------------------------------------------------------------------------------

    def _peers_address(self, node: str) -> str | None:
        facts = next((f for id_, f in self._view.snapshot.facts.items() if id_ == node), None)
        return None if facts is None else facts.value.peers_address

    async def _publish_facts(self) -> None:
        host = await self._hypervisor.host_facts()
        described: dict[str, JsonValue] = {
            "kind": host.kind,
            "version": ".".join(map(str, host.version)),
            "accelerator": host.accelerator.value,
            "machine_type": host.machine_type,
            "cpu_model": host.cpu_model,
            "memory_total": str(host.memory_total),
        }
        facts = NodeFacts(
            http_address=f"unix:{self._paths.http_socket}",
            peers_address=f"unix:{self._paths.peers_socket}",
            pid=os.getpid(),
            version=quorate.__version__,
            hypervisor=described,
        )
        await self._database.write_node_facts(self._configuration.node, facts)

    async def _answer_peer(self, kind: str, body: JsonObject) -> JsonObject:
        match kind:
            case "ping":
                return {"pid": os.getpid()}
            case "assess":
                question = Assess.from_json(body)
                return await self._migrations.on_assess(question.definition, question.pinned)
            case "prepare":
                await self._migrations.on_prepare(Prepare.from_json(body))
                return {}
            case "prepared" | "failed" | "abandon" | "yours" | "session":
                return self._migrations.on_message(kind, OfSession.from_json(body))
            case "forward":
                return await self._dispatcher.serve_forwarded(
                    json_text(body, "operation"), json_object(body, "request")
                )
            case _:
                raise FaultError(Status.ERROR_CALL_NOT_IMPLEMENTED, f"this node does not know the message {kind!r}")
