"""One node: everything below, built, wired and taken down in order."""

import asyncio
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import structlog

import quorate
from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue, json_object, json_text
from quorate.clusapi.states import NodeState
from quorate.clusapi.status import Status
from quorate.cluster.lease_events import Terms
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import StoreUnavailable
from quorate.database.records import NodeFacts
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.cluster_clock import ClusterClock
from quorate.engine.context import EngineContext
from quorate.engine.coordinator import Coordinator
from quorate.engine.draining import Draining
from quorate.engine.fence_agents import FenceAgents
from quorate.engine.fence_watch import FenceWatch
from quorate.engine.fencing import Fencing
from quorate.engine.groups import Groups
from quorate.engine.guard import GuardLink
from quorate.engine.host_news import HostNews
from quorate.engine.hosted import HostedVm
from quorate.engine.journal import Journals
from quorate.engine.last_pages import wait_sent
from quorate.engine.lease import LeaseKeeper
from quorate.engine.membership import Membership
from quorate.engine.migrations import Migrations
from quorate.engine.node_watch import NodeWatch
from quorate.engine.paths import NodePaths
from quorate.engine.pictures import MEMORY_CONFIGURED, MEMORY_TOTAL, Pictures
from quorate.engine.promises import PromiseExchange
from quorate.engine.recovery import recover
from quorate.engine.view import ClusterView
from quorate.hosting.contract import ResourceFailure
from quorate.hosting.host import Host
from quorate.hosting.monitor_pool import MonitorPool
from quorate.hosting.registry_properties import RegistryProperties
from quorate.hosting.shared_deadline import SharedDeadline
from quorate.hypervisor.contract import Hypervisor
from quorate.peers.admission_messages import ADMISSION_KINDS
from quorate.peers.messages import Assess, GiverQuestion, OfSession, Prepare, PromiseRequest
from quorate.resources.network_name import NetworkName
from quorate.resources.registered_type import registered_types
from quorate.resources.virtual_machine import VirtualMachine
from quorate.resources.virtual_machine_configuration import VirtualMachineConfiguration
from quorate.server.audit import Audit
from quorate.server.dispatcher import Dispatcher
from quorate.server.http import build_app
from quorate.service.admission import Admissions
from quorate.service.configuration import NodeConfiguration
from quorate.service.doors import Doors
from quorate.service.guard_process import guard_stand_in, guard_starter
from quorate.service.inspection import Inspection
from quorate.service.membership import EvictionWatch, take_part
from quorate.service.mscmrp_door import MscmrpDoor
from quorate.service.node_services import Services
from quorate.service.stores import open_stores
from quorate.service.upkeep import Upkeep

SAME_SUBNET_DELAY = 1.0
SAME_SUBNET_THRESHOLD = 5
"""Where the cluster does not say otherwise: a lease of five seconds, renewed every second."""
RESILIENCY_DEFAULT_PERIOD = 240
"""Seconds for which what runs goes on by promises of some of the nodes, where the cluster does not say otherwise."""

_log = structlog.get_logger("node")


class Node:
    """A node's daemon, from `start` to `stop`. Stopping it never stops a virtual machine."""

    def __init__(self, configuration: NodeConfiguration, hypervisor: Hypervisor) -> None:
        """Build nothing until `start`."""
        self._configuration = configuration
        self._hypervisor = hypervisor
        self._paths = NodePaths(configuration.state, configuration.runtime, configuration.saved)
        self._run_until = SharedDeadline()

    async def start(self) -> None:
        """Come up: lease first, then what an earlier daemon left, then the doors for others.

        The view is there before the lease: the first renewal says whom this node knows of, and if it did not, nobody
        could ever conclude from time alone that a node is dead that died while it came up (R10).
        """
        configuration = self._configuration
        self._paths.create()
        self._begin_guard()
        self._stores = await open_stores(configuration.database)
        self._store = self._stores.store
        self._database = ClusterDatabase(self._store)
        await take_part(self._database, configuration.node)
        self._view = ClusterView(self._database, configuration.node)
        await self._view.start()
        self._eviction = EvictionWatch(self._database, self._view, configuration.node)
        self._doors = Doors(configuration, self._paths, self._view, self._database)
        if self._view.snapshot.nodes.keys() - self._view.snapshot.admissions.keys():
            await self._database.note_admissions()
        await self._add_standard_objects()
        self._lease = self._new_lease()
        if not await asyncio.to_thread(self._lease.start, 30.0):
            raise FaultError(Status.ERROR_CLUSTER_NODE_DOWN, "the node's lease could not be written within 30 s")
        self._context = EngineContext(
            node=configuration.node,
            node_name=self._view.snapshot.node(configuration.node).name,
            database=self._database,
            hypervisor=self._hypervisor,
            view=self._view,
            lease=self._lease,
            guard=self._guard,
            peers=self._doors.peers,
            journals=Journals(self._paths.runtime),
            paths=self._paths,
            migration_host=self._doors.migration_host,
            certificates=self._doors.certificates,
        )
        self._membership = Membership(configuration.node, self._view, self._lease)
        self._membership.start()
        self._promises = PromiseExchange(
            configuration.node, self._view, self._lease, self._membership, self._doors.peers
        )
        self._promises.start()
        await self._wire()
        await recover(self._context, self._migrations, self._groups)
        self._groups.start()
        await self._doors.open_peers(self._answer_peer)
        await self._publish_facts()
        self._upkeep = Upkeep(
            configuration.node, self._database, self._view, self._stores.maintenance, self._doors.peers_address
        )
        self._upkeep.start()
        self._audit = Audit(configuration.node, self._database.append_events)
        self._audit.start()
        await self._doors.open_http(build_app(self._services, self._dispatcher, audit=self._audit), self._audit)
        await self._open_mscmrp()
        self._lease.joined()
        await self._say_up()
        self._coordinator.start()
        self._fence_watch.start()
        self._watch.start()
        self._learning = asyncio.create_task(self._learn(), name="what guests can have here is found out")
        _log.info("the node is up", pid=os.getpid())

    async def _open_mscmrp(self) -> None:
        """Speak MS-CMRP, where that is wanted."""
        settings = self._configuration.mscmrp
        self._mscmrp: MscmrpDoor | None = None
        if settings is not None:
            self._mscmrp = MscmrpDoor(settings, self._services, self._dispatcher, self._view, self._audit)
            await self._mscmrp.open()

    async def _add_standard_objects(self) -> None:
        try:
            if await self._database.add_standard_objects():
                _log.info("the cluster has its standard objects now")
        except CallerError as error:
            _log.warning("the cluster lacks some of its standard objects", sentence=error.sentence)

    async def _learn(self) -> None:
        """Find out what the preflight of moves to here compares; nothing that runs needs it."""
        try:
            await self._migrations.foresight.recall()
            await self._hypervisor.learn()
        except ClusterError as error:
            _log.warning("it is not known which CPU features guests can have here", sentence=error.sentence)

    async def _say_up(self) -> None:
        me, name = self._configuration.node, self._context.node_name
        event = EventRecord.of(
            EventKind.NODE_STATE,
            time=datetime.now(UTC),
            node=me,
            object_id=me,
            object_name=name,
            sentence=f"{name} is up",
            after=NodeState.UP.name.lower(),
            actor=f"node {me}",
        )
        try:
            await self._database.append_events((event,))
        except StoreUnavailable as error:
            _log.warning("nobody was told that the node is up", sentence=error.sentence)

    async def wait_evicted(self) -> RefusalError:
        """Wait until the cluster has this node no more; what is to be said then."""
        return await self._eviction.wait()

    def _begin_guard(self) -> None:
        """Have a guard before anything else: QEMUs of an earlier daemon may be running."""
        configuration = self._configuration
        starter = guard_starter(configuration.state, configuration.runtime, configuration.watchdog)
        self._guard = GuardLink(
            self._paths.guard_file,
            None if configuration.guard_is_external else starter,
            guard_stand_in(configuration.runtime),
        )
        self._guarding = asyncio.create_task(self._guard.keep(), name="the guard is kept")

    async def _wire(self) -> None:
        self._migrations = Migrations(self._context, self._configuration.memory)
        self._migrations.prepare_sessions()
        clock = ClusterClock(self._view)
        self._fencing = Fencing(self._context, FenceAgents(self._configuration.fence_directory), clock.now)
        self._fence_watch = FenceWatch(self._context, self._fencing, self._membership)
        self._pictures = Pictures(
            self._configuration.node, self._view, self._membership, clock, is_fenced=self._fencing.proof
        )
        self._groups = Groups(
            self._context, self._migrations, self._pictures.current, clock, self._membership.is_writable
        )
        self._coordinator = Coordinator(self._context, self._membership, self._pictures.current)
        self._fencing.subscribe(self._coordinator.look_again)
        self._host_news = HostNews(self._context)
        self._watch = NodeWatch(self._context, self._host_news, self._guard.is_live)
        scripts = self._configuration.scripts_directory
        self._host = Host(
            (
                VirtualMachine(self._migrations),
                VirtualMachineConfiguration(self._migrations),
                NetworkName(),
                *registered_types(),
            ),
            RegistryProperties(self._database),
            self._groups,
            monitors=MonitorPool(deadline=self._run_until),
            settings={} if scripts is None else {"scripts_directory": str(scripts)},
            on_state_changed=self._groups.on_state_changed,
            on_failed=self._on_resource_failed,
            on_monitor_news=self._host_news.on_monitor_news,
        )
        self._groups.bind(self._host)
        self._inspection = Inspection(
            self._configuration,
            self._stores.maintenance,
            self._guard.is_live,
            make_picture=self._pictures.current,
        )
        self._services = Services(
            self._context,
            self._configuration,
            self._host,
            self._migrations,
            self._groups,
            self._inspection,
            Draining(self._context, clock.now),
            self._stores.shortest_lease,
        )
        self._dispatcher = Dispatcher(self._services)
        self._admissions = Admissions(self._database, self._configuration.node)

    def _on_resource_failed(self, failure: ResourceFailure) -> None:
        """Tell it, and let the policies have their say."""
        self._host_news.on_failed(failure)
        self._groups.on_failed(failure)

    def _new_lease(self) -> LeaseKeeper:
        me = self._configuration.node
        self._stores.check_lease(lease_terms(self._view.snapshot).duration)
        return LeaseKeeper(
            me,
            self._stores.open_blocking,
            str(uuid.uuid4()),
            terms=self._lease_terms,
            seen=lambda: self._view.revision,
            is_member=lambda: me in self._view.snapshot.nodes,
            on_deadline=self._on_deadline,
            over=self._guard.deadline(),
        )

    def _on_deadline(self, deadline: float) -> None:
        """Tell those who end what runs when it may not any more; on the lease's thread."""
        self._guard.set_deadline(deadline, self._lease_terms().duration)
        self._run_until.set(deadline)

    def _lease_terms(self) -> Terms:
        """What the cluster's properties say now, but never a lease that the store is too slow for."""
        terms = lease_terms(self._view.snapshot)
        return replace(terms, duration=max(terms.duration, self._stores.shortest_lease))

    async def wait_sent(self, report: Callable[[str], None]) -> None:
        """Wait, before `stop`, until guests that live elsewhere have their last pages: their end would come with ours.

        ``report`` is called with a sentence for people while there is something to wait for.
        """
        left = await wait_sent(self._migrations.outgoing.values, report, time.monotonic)
        if left:
            _log.warning("virtual machines elsewhere miss pages that are here, and do not fetch them", vms=left)

    async def stop(self) -> None:
        """Go down in the opposite order; what runs is left running for the next daemon."""
        self._learning.cancel()
        await asyncio.gather(self._learning, return_exceptions=True)
        await self._watch.close(sum(vm.instance is not None for vm in self._processes()))
        await self._upkeep.close()
        if self._mscmrp is not None:
            await self._mscmrp.close()
        await self._doors.close_http()
        await self._audit.close()
        await self._doors.close_peers()
        await self._fence_watch.close()
        await self._fencing.close()
        await self._coordinator.close()
        await self._promises.close()
        self._membership.close()
        await self._groups.close()
        await self._host.close()
        await self._migrations.close()
        await self._host_news.close()
        for vm in self._processes():
            if vm.instance is not None:
                await vm.instance.release()
        await self._doors.peers.close()
        await self._view.close()
        await asyncio.to_thread(self._lease.stop)
        self._run_until.close()
        self._guarding.cancel()
        self._guard.close()
        await self._store.close()
        _log.info("the node is down; its virtual machines go on")

    def _processes(self) -> tuple[HostedVm, ...]:
        """What has a process here, also if only to send its last pages."""
        return (*self._migrations.all(), *self._migrations.serving())

    # --- the other nodes -------------------------------------------------------------------------------------------

    async def _publish_facts(self) -> None:
        host = await self._hypervisor.host_facts()
        described: dict[str, JsonValue] = {
            "kind": host.kind,
            "version": ".".join(map(str, host.version)),
            "accelerator": host.accelerator.value,
            "machine_type": host.machine_type,
            "cpu_model": host.cpu_model,
            MEMORY_TOTAL: str(host.memory_total),
        }
        if self._configuration.memory is not None:
            described[MEMORY_CONFIGURED] = str(self._configuration.memory)
        facts = NodeFacts(
            http_address=self._doors.http_address,
            peers_address=self._doors.peers_address,
            pid=os.getpid(),
            version=quorate.__version__,
            hypervisor=described,
        )
        await self._database.write_node_facts(self._configuration.node, facts)

    async def _answer_peer(self, sender: NodeId | None, kind: str, body: JsonObject) -> JsonObject:
        match kind:
            case "ping":
                return {"pid": os.getpid()}
            case "assess":
                return await self._migrations.on_assess(Assess.from_json(body))
            case "sink":
                return await self._migrations.on_sink(json_text(body, "address"))
            case "prepare":
                await self._migrations.on_prepare(Prepare.from_json(body))
                return {}
            case "prepared" | "failed" | "abandon" | "yours" | "session" | "recover" | "pages paused":
                return self._migrations.on_message(kind, OfSession.from_json(body))
            case "promise":
                return self._promises.on_request(PromiseRequest.from_json(body)).to_json()
            case "giver":
                return {"word": self._migrations.on_giver(GiverQuestion.from_json(body)).value}
            case "forward":
                return await self._dispatcher.serve_forwarded(
                    json_text(body, "operation"), json_object(body, "request")
                )
            case _ if kind in ADMISSION_KINDS:
                return await self._admissions.answer(kind, body)
            case _:
                raise FaultError(Status.ERROR_CALL_NOT_IMPLEMENTED, f"this node does not know the message {kind!r}")


def lease_terms(snapshot: ClusterSnapshot) -> Terms:
    """What the cluster's properties say of leases; a change holds from the next renewal on."""
    properties = snapshot.cluster.properties
    delay = properties.number("SameSubnetDelay", int(SAME_SUBNET_DELAY * 1000)) / 1000
    threshold = properties.number("SameSubnetThreshold", SAME_SUBNET_THRESHOLD)
    resilience = properties.number("ResiliencyDefaultPeriod", RESILIENCY_DEFAULT_PERIOD)
    return Terms(delay, delay * threshold, float(resilience))
