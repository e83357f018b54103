"""The resource type "Virtual Machine": the running state of one VM, as a thin proxy over the engine.

Source: page virtual-machine and its property pages; clusctl-resource-vm-*; [MS-CMRP] 3.1.4.3.1.49 and the next section.
"""

import asyncio
import struct
from collections.abc import Coroutine
from typing import Final

from quorate.clusapi import control_codes as codes
from quorate.clusapi.errors import CallerError, ClusterError, RefusalError
from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.migration_input import check_bandwidth_limit, split_destination
from quorate.clusapi.property_lists import PropertyFormat, PropertyValue, parse_sz
from quorate.clusapi.states import (
    MigrationState,
    OfflineAction,
    ResourceState,
    ShutdownAction,
    VmResdllContext,
    VmState,
)
from quorate.clusapi.status import Status
from quorate.hosting.contract import ControlAnswer, Parameters, PropertyScope, VirtualMachines, VmFacts
from quorate.hosting.property_codes import PropertyRequest, answer_from_table, is_type_code, request_of, stored_answer
from quorate.hosting.property_table import with_changes
from quorate.hosting.resource_type import Lost, OfflineRequest, OpenedResource, ReportStatus
from quorate.migration.migration_networks import check_networks
from quorate.migration.policy import find_policy
from quorate.resources.vm_properties import (
    MIGRATION_FAILURE_REASON,
    MIGRATION_PROGRESS,
    MIGRATION_STATE,
    NETWORK_LISTS,
    OFFLINE_ACTION,
    SHUTDOWN_ACTION,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_TYPE,
    VM_STATE,
)
from quorate.resources.vm_type import VmType, answer_fact, check_vm_id

TYPE_NAME: Final = "Virtual Machine"
LONGEST_NODE_NAME: Final = 255
"""UTF-16 units in the destination of START_MIGRATION."""

_DWORD: Final = struct.Struct("<I")
_DONE: Final = ControlAnswer(Status.ERROR_SUCCESS)
_LAST: Final = 0xFFFFFFFF  # a checkpoint that no report before the last one has


class VirtualMachine(VmType):
    """Brings VMs online and offline, migrates them, and shows their private properties."""

    def __init__(self, vms: VirtualMachines) -> None:
        """Take the VMs of this node."""
        super().__init__(TYPE_NAME, vms, VIRTUAL_MACHINE, VIRTUAL_MACHINE_TYPE)
        self._work: dict[ResourceId, asyncio.Task[None]] = {}
        self._next_offline_action: dict[ResourceId, OfflineAction] = {}

    # --- States ------------------------------------------------------------------------------------------------

    async def open(self, resource: OpenedResource, lost: Lost) -> None:
        """Remember which group's VM the resource stands for."""
        await super().open(resource, lost)
        self._next_offline_action.pop(resource.resource_id, None)

    async def close(self, resource_id: ResourceId) -> None:
        """Forget it; the VM goes on. Nobody hears any more how a pending online or offline ends."""
        await super().close(resource_id)
        self._next_offline_action.pop(resource_id, None)
        self._drop_work(resource_id)

    async def online(self, resource_id: ResourceId, parameters: Parameters, report: ReportStatus) -> Status:
        """Start the VM, or restore its saved image; the end is reported."""
        self._begin(resource_id, self._start(self._group(resource_id), report), report)
        return Status.ERROR_IO_PENDING

    async def offline(self, resource_id: ResourceId, request: OfflineRequest, report: ReportStatus) -> Status:
        """Take the VM off as the caller, the one-shot action or the property OfflineAction says, in this order."""
        group_id = self._group(resource_id)
        action = self._offline_action(resource_id, request)
        if action is None:  # an error would have the VM turned off
            report(ResourceState.ONLINE, _LAST, "a live migration is a move of the group; it takes no VM offline")
            return Status.ERROR_IO_PENDING
        self._next_offline_action.pop(resource_id, None)
        self._begin(resource_id, self._stop(group_id, action, report), report)
        return Status.ERROR_IO_PENDING

    async def terminate(self, resource_id: ResourceId) -> None:
        """Turn the VM off now."""
        await self._vms.terminate(self._group(resource_id))
        self._drop_work(resource_id)

    async def looks_alive(self, resource_id: ResourceId) -> bool:
        """Answer from what is known."""
        return self._vms.looks_alive(self._group(resource_id))

    async def is_alive(self, resource_id: ResourceId) -> bool:
        """Ask the hypervisor."""
        return await self._vms.is_alive(self._group(resource_id))

    def state_after_stop(self, parameters: Parameters) -> ResourceState:
        """As ShutdownAction says: a VM that shut down by itself is offline, or has failed."""
        action = VIRTUAL_MACHINE.number(parameters, SHUTDOWN_ACTION)
        return ResourceState.FAILED if action == ShutdownAction.FAILED else ResourceState.OFFLINE

    async def _start(self, group_id: GroupId, report: ReportStatus) -> None:
        try:
            await self._vms.online(group_id, lambda point, text: _pass_on(report, _ONLINE_PENDING, point, text))
        except ClusterError as error:
            report(ResourceState.FAILED, _LAST, error.sentence, status=error.status)
        else:
            report(ResourceState.ONLINE, _LAST, self._vms.facts(group_id).sentence)

    async def _stop(self, group_id: GroupId, action: OfflineAction, report: ReportStatus) -> None:
        try:
            await self._vms.offline(
                group_id, action, lambda point, text: _pass_on(report, _OFFLINE_PENDING, point, text)
            )
        except ClusterError as error:
            # A VM that is still there is not turned off because it could not be saved or shut down: its memory is
            # worth more than the request. Whoever means it asks for force.
            runs = self._vms.looks_alive(group_id)
            report(ResourceState.ONLINE if runs else ResourceState.FAILED, _LAST, error.sentence)
        else:
            report(ResourceState.OFFLINE, _LAST, self._vms.facts(group_id).sentence)

    def _begin(self, resource_id: ResourceId, work: Coroutine[None, None, None], report: ReportStatus) -> None:
        self._drop_work(resource_id)
        task = asyncio.create_task(work, name=f"{TYPE_NAME} {resource_id}")

        def on_done(done: asyncio.Task[None]) -> None:
            error = None if done.cancelled() else done.exception()
            if error is not None:  # a bug below; said here so that nobody waits for PendingTimeout
                report(ResourceState.FAILED, _LAST, f"the engine broke: {error!r}")

        task.add_done_callback(on_done)
        self._work[resource_id] = task

    def _drop_work(self, resource_id: ResourceId) -> None:
        task = self._work.pop(resource_id, None)
        if task is not None:
            task.cancel()

    def _offline_action(self, resource_id: ResourceId, request: OfflineRequest) -> OfflineAction | None:
        context = request.vm_context
        if context == VmResdllContext.LIVE_MIGRATION:
            return None
        if context is not None:
            return OfflineAction(context)
        once = self._next_offline_action.get(resource_id)
        return OfflineAction(VIRTUAL_MACHINE.number(request.parameters, OFFLINE_ACTION)) if once is None else once

    # --- Control codes -----------------------------------------------------------------------------------------

    async def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, parameters: Parameters
    ) -> ControlAnswer:
        """Answer the VM codes, the private properties and the facts of the type."""
        group_id = self._group(resource_id)
        match code:
            case codes.CLUSCTL_RESOURCE_VM_START_MIGRATION:
                await self._vms.start_migration(group_id, *parse_destination(data))
                return _DONE
            case codes.CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION:
                await self._vms.cancel_migration(group_id)
                return _DONE
            case codes.CLUSCTL_RESOURCE_VM_SET_NEXT_OFFLINE_ACTION:
                self._next_offline_action[resource_id] = _parse_offline_action(data)
                return _DONE
        request = request_of(code, PropertyScope.PRIVATE)
        if request is None:
            return answer_fact(code)
        return await self._property_control(group_id, request, data, parameters)

    async def resource_type_control(self, code: int, data: bytes | None, parameters: Parameters) -> ControlAnswer:
        """Answer the facts of the type and its private properties; a list of networks has none that there is not."""
        if is_type_code(code) and request_of(code, PropertyScope.PRIVATE) in (
            PropertyRequest.SET,
            PropertyRequest.VALIDATE,
        ):
            changes = VIRTUAL_MACHINE_TYPE.parse_changes(data)
            for name in NETWORK_LISTS:
                if name in changes:
                    check_networks(name, str(changes[name].value), self._vms.networks())
        return await super().resource_type_control(code, data, parameters)

    async def _property_control(
        self, group_id: GroupId, request: PropertyRequest, data: bytes | None, parameters: Parameters
    ) -> ControlAnswer:
        facts = self._vms.facts(group_id)
        if request not in (PropertyRequest.SET, PropertyRequest.VALIDATE):
            return answer_from_table(request, VIRTUAL_MACHINE, with_changes(parameters, _live_values(facts)), data)
        changes = VIRTUAL_MACHINE.parse_changes(data)
        check_vm_id(changes, parameters)
        reset = changes.pop(MIGRATION_STATE, None)
        if reset is not None:
            _check_reset(reset, facts)
        if request is PropertyRequest.VALIDATE:
            return _DONE
        if reset is not None:
            await self._vms.set_migration_state_idle(group_id)
        return stored_answer(VIRTUAL_MACHINE, changes, is_online=facts.vm_state not in _OFF)


_ONLINE_PENDING: Final = ResourceState.ONLINE_PENDING
_OFFLINE_PENDING: Final = ResourceState.OFFLINE_PENDING
_OFF: Final = frozenset({VmState.OFF, VmState.SAVED})


def parse_destination(data: bytes | None) -> tuple[str | None, str, int]:
    """The destination of START_MIGRATION, the policy and the limit (MiB/s) that it names; None: the best node.

    Policy and limit are our own: a second text with its NUL may follow the first, and a third the second. What goes
    before the last may then be empty: the best node, no policy.

    Raises CallerError 87 for odd length, no text, no NUL at the end, a NUL inside, no UTF-16, more than 255 characters
    for a policy that there is not, and for a limit that is no number.
    """
    if data is None:
        return None, "", 0
    found = split_destination(data)
    policy, limit = found.policy, found.bandwidth_limit
    if policy is not None and (policy or limit is None):
        find_policy(policy)
    name = parse_sz(found.node, may_be_empty=policy is not None)
    if len(found.node) // 2 - 1 > LONGEST_NODE_NAME:
        length = len(found.node) // 2 - 1
        sentence = f"the destination has {length} characters; a node's name has at most {LONGEST_NODE_NAME}"
        raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
    return name or None, policy or "", 0 if limit is None else _parse_limit(limit)


def _parse_limit(text: str) -> int:
    """A bandwidth limit, in MiB/s. Raises CallerError 87."""
    if not (text.isascii() and text.isdigit() and int(text[:20])):
        sentence = f"a bandwidth limit is a number of MiB/s, in digits; {text!r} is none"
        raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
    return check_bandwidth_limit(int(text[:20]))


def _parse_offline_action(data: bytes | None) -> OfflineAction:
    if data is None or len(data) != _DWORD.size:
        length = "no input" if data is None else f"{len(data)} bytes"
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"the offline action is a DWORD of 4 bytes, not {length}")
    (number,) = _DWORD.unpack(data)
    if number > OfflineAction.SHUTDOWN_FORCE:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"there is no offline action {number}; they are 0 to 3")
    return OfflineAction(number)


def _live_values(facts: VmFacts) -> dict[str, PropertyValue]:
    numbers = {
        VM_STATE: facts.vm_state,
        MIGRATION_STATE: facts.migration_state,
        MIGRATION_PROGRESS: facts.migration_progress,
        MIGRATION_FAILURE_REASON: facts.migration_failure_reason,
    }
    return {name: PropertyValue.of(PropertyFormat.DWORD, int(number)) for name, number in numbers.items()}


def _check_reset(wanted: PropertyValue, facts: VmFacts) -> None:
    """Let a client write nothing but 0, and that only when no migration is under way."""
    if wanted.value != MigrationState.NO_MIGRATION:
        sentence = f"MigrationState may be set to 0 only, to reset it; {wanted.value!r} is for the cluster to set"
        raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
    if facts.migration_state.is_under_way:
        sentence = f"a migration is under way (MigrationState {facts.migration_state:d}); cancel it or let it end"
        raise RefusalError(Status.ERROR_INVALID_STATE, sentence)


def _pass_on(report: ReportStatus, state: ResourceState, checkpoint: int, sentence: str) -> None:
    report(state, checkpoint, sentence)
