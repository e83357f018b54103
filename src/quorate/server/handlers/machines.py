"""Operations on virtual machines: a group and its two resources, seen as one thing."""

import json

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventKind
from quorate.clusapi.json_types import JsonObject, json_object
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import ResourceState, VmResdllContext
from quorate.clusapi.status import Status
from quorate.server import lookup, view
from quorate.server.call import Call, done

_SETTLED = (ResourceState.OFFLINE, ResourceState.FAILED)


async def create(call: Call) -> Values:
    """Check, complete and place the definition; then make group, resources and records in one transaction."""
    services, name = call.services, call.inputs.text("name")
    wanted = call.inputs.optional_text("node")
    node_id = None if wanted is None else lookup.node(call.snapshot, wanted).id
    ids = services.database.new_vm_ids()
    definition = await services.check_virtual_machine(ids.vm_id, _named(name, call.inputs.json("definition")))
    owner = await services.place_virtual_machine(definition, node_id)
    sentence = f'virtual machine "{name}" was created on {lookup.node_name(call.snapshot, owner)}'
    created = call.event(EventKind.VM_CREATED, ids.group, name, sentence, {"vm": ids.vm_id, "node": owner})
    made = await services.database.create_virtual_machine(
        name, json.dumps(definition), owner, ids=ids, events=(created,)
    )
    return Values(
        {
            "vm": made.vm_id,
            "group": made.group,
            "vm_resource": made.vm_resource,
            "configuration_resource": made.configuration_resource,
            "node": lookup.node_name(call.snapshot, owner),
        }
    )


async def delete(call: Call) -> Values:
    """Delete it with everything the node keeps of it; its disks stay."""
    vm = _vm(call)
    state = call.services.host.state(vm.resource.id)
    if state not in _SETTLED and call.inputs.flag("turn_off"):
        await call.services.host.offline_group(vm.group.id, vm_context=VmResdllContext.TURN_OFF)
        await call.services.host.wait_settled(vm.group.id)
        state = call.services.host.state(vm.resource.id)
    if state not in _SETTLED:
        raise RefusalError(
            Status.ERROR_RESOURCE_ONLINE,
            f'"{vm.group.name}" is {state.name.lower().replace("_", " ")}; stop it first, or have it turned off',
        )
    await call.services.discard_virtual_machine(vm.group.id)
    deleted = call.event(
        EventKind.VM_DELETED, vm.group.id, vm.group.name, f'virtual machine "{vm.group.name}" was deleted'
    )
    await call.services.database.delete_group(vm.group.id, events=(deleted,))
    return done()


async def get(call: Call) -> Values:
    """Everything about it."""
    vm = _vm(call)
    owner = call.snapshot.owner_of(vm.group.id)
    seen = await view.collect(call, frozenset() if owner is None else frozenset({owner}))
    facts = {**seen.virtual_machine(vm), "definition": _definition(vm)}
    return Values({"virtual_machine": facts})


async def list_all(call: Call) -> Values:
    """Every VM."""
    return Values({"virtual_machines": tuple((await view.collect(call)).virtual_machines())})


async def pause(call: Call) -> Values:
    """Stop its virtual CPUs."""
    await call.services.pause_virtual_machine(_vm(call).group.id)
    return done()


async def resume(call: Call) -> Values:
    """Let its virtual CPUs run again."""
    await call.services.resume_virtual_machine(_vm(call).group.id)
    return done()


async def get_progress(call: Call) -> Values:
    """How far its migration is; from the database when the owner is down."""
    vm = _vm(call)
    node = lookup.node_name(call.snapshot, call.snapshot.owner_of(vm.group.id))
    details = None if call.owner_is_down else call.services.vm_details(vm.group.id)
    if details is not None:
        return Values({"progress": details.progress.to_json(), "node": node})
    stored = view.ClusterView(call.snapshot, {}, {}).virtual_machine(vm)
    return Values({"progress": json_object(stored, "migration"), "node": node})


def _vm(call: Call) -> lookup.VmObjects:
    return lookup.virtual_machine(call.snapshot, call.inputs.text("vm"))


def _named(name: str, definition: JsonObject) -> JsonObject:
    if definition.get("name", name) != name:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER, f'name: the definition says {definition["name"]!r}, the call says "{name}"'
        )
    return {**definition, "name": name}


def _definition(vm: lookup.VmObjects) -> JsonObject:
    text = "" if vm.configuration is None else vm.configuration.parameters.text("Definition")
    try:
        definition = json.loads(text or "{}")
    except ValueError:
        return {}
    return definition if isinstance(definition, dict) else {}
