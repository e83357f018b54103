"""``quorate vm …``, except what moves a VM and its console."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from quorate.cli import output
from quorate.cli.commands.tables import fact_rows, migration_words, vm_rows
from quorate.cli.commands.waiting import settled_vm
from quorate.cli.session import session
from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.json_types import JsonObject, JsonValue, json_int, json_object, json_text
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import ResourceState, VmResdllContext
from quorate.clusapi.status import Status

_ACTIONS = {
    "turn-off": VmResdllContext.TURN_OFF,
    "save": VmResdllContext.SAVE,
    "shutdown": VmResdllContext.SHUTDOWN,
    "shutdown-force": VmResdllContext.SHUTDOWN_FORCE,
}


def create_(
    name: str,
    /,
    *,
    memory: str | None = None,
    disk: Annotated[list[str] | None, Parameter(negative="")] = None,
    cpus: int | None = None,
    kernel: Path | None = None,
    initrd: Path | None = None,
    append: str | None = None,
    nic: Annotated[list[str] | None, Parameter(negative="")] = None,
    guest: Literal["builtin"] | None = None,
    beat_hz: int | None = None,
    fill: str | None = None,
    dirty: str | None = None,
    dirty_rate: str | None = None,
    node: str | None = None,
    definition: Path | None = None,
    start: bool = False,
) -> int:
    """Make a virtual machine.

    Parameters
    ----------
    name
        Its name.
    memory
        Its memory, such as 512M or 1G; 128M for the built-in guest.
    disk
        A disk image; repeat for more.
    cpus
        How many virtual CPUs.
    kernel
        A Linux kernel to start directly.
    initrd
        The kernel's initial RAM disk.
    append
        The kernel's command line.
    nic
        A network card: user, tap=NAME, bridge=NAME or switch=NAME; repeat for more.
    guest
        The built-in guest, which counts, dirties memory and prints its count: needs no disk.
    beat_hz
        Built-in guest: how often a second it counts.
    fill
        Built-in guest: memory that it fills once, such as 700M.
    dirty
        Built-in guest: memory that it rewrites again and again.
    dirty_rate
        Built-in guest: how much of it per second, such as 300M.
    node
        Its first node; the best one, if left out.
    definition
        A JSON file with the whole definition; the other options change it.
    start
        Start it at once.
    """
    made = _definition_of_file(definition)
    simple: dict[str, JsonValue] = {"memory": memory, "vcpus": cpus, "disks": disk, "nics": nic}
    made.update({key: value for key, value in simple.items() if value is not None})
    chosen = _guest(
        guest,
        kernel,
        initrd,
        append,
        {"beat_hz": beat_hz, "fill_bytes": fill, "dirty_bytes": dirty, "dirty_bytes_per_second": dirty_rate},
    )
    if chosen is not None:
        made["guest"] = chosen
    if isinstance(disks := made.get("disks"), list):
        made["disks"] = [_absolute(item) if isinstance(item, str) else item for item in disks]
    if guest == "builtin":
        made.setdefault("memory", "128M")
    client = session.client()
    created = client.call("CreateVirtualMachine", name=name, definition=made, node=node).as_json()
    if start:
        return _online(client, name, timeout=180.0, created=created)
    output.say(f'"{name}" was created on {json_text(created, "node")}; start it: quorate vm start {name}', created)
    return output.EXIT_SUCCESS


def delete_(name: str, /, *, yes: bool = False, turn_off: bool = False) -> int:
    """Delete a virtual machine; its disks stay.

    Parameters
    ----------
    name
        The virtual machine.
    yes
        Do not ask.
    turn_off
        Turn it off first if it runs.
    """
    client = session.client()
    facts = client.call("GetVirtualMachine", vm=name).json("virtual_machine")
    if not output.confirmed(f'Delete "{json_text(facts, "name")}" ({json_text(facts, "vm")})?', yes=yes):
        output.say("nothing was done", {"vm": json_text(facts, "vm"), "deleted": False})
        return output.EXIT_REFUSAL
    client.call("DeleteVirtualMachine", vm=json_text(facts, "group"), turn_off=turn_off)
    output.say(f'"{name}" was deleted; its disks stay', {"vm": json_text(facts, "vm"), "deleted": True})
    return output.EXIT_SUCCESS


def list_() -> int:
    """List the virtual machines with node, state and migration."""
    machines = session.client().call("ListVirtualMachines").objects("virtual_machines")
    output.show({"virtual_machines": machines}, vm_rows(machines) if not session.json else "")
    return output.EXIT_SUCCESS


def show_(name: str, /) -> int:
    """Show everything about a virtual machine."""
    facts = session.client().call("GetVirtualMachine", vm=name).json("virtual_machine")
    progress = MigrationProgress.from_json(json_object(facts, "migration"))
    rows = [
        ("Name", json_text(facts, "name")),
        ("VmId", json_text(facts, "vm")),
        ("Node", json_text(facts, "node")),
        ("State", f"{output.words(json_text(facts, 'vm_state_name'))} ({json_int(facts, 'vm_state')})"),
        ("Resource", output.words(json_text(facts, "resource_state_name"))),
        ("", json_text(facts, "sentence")),
        ("Migration", migration_words(progress) or "none"),
        ("", progress.sentence),
        ("QEMU", str(facts.get("pid") or "-")),
        ("Serial log", json_text(facts, "serial_log")),
        ("Epoch", str(json_int(facts, "epoch"))),
        ("Memory", _memory(json_object(facts, "definition"))),
    ]
    output.show(facts, fact_rows([row for row in rows if row[1]]) if not session.json else "")
    return output.EXIT_SUCCESS


def start_(name: str, /, *, wait: bool = True, timeout: float = 180.0) -> int:
    """Start a virtual machine; a saved one goes on where it was.

    Parameters
    ----------
    name
        The virtual machine.
    wait
        Wait until it runs.
    timeout
        Seconds to wait at most.
    """
    return _online(session.client(), name, timeout=timeout if wait else None)


def stop_(
    name: str,
    /,
    *,
    action: Literal["save", "shutdown", "shutdown-force", "turn-off"] | None = None,
    wait: bool = True,
    timeout: float = 180.0,
) -> int:
    """Stop a virtual machine, as its OfflineAction says (save, unless it was changed).

    Parameters
    ----------
    name
        The virtual machine.
    action
        How to stop it this time.
    wait
        Wait until it is off.
    timeout
        Seconds to wait at most.
    """
    client = session.client()
    group = json_text(client.call("GetVirtualMachine", vm=name).json("virtual_machine"), "group")
    status = client.call("OfflineGroup", group=group, in_buffer=_context(action)).number("status")
    if not wait:
        output.say(f'"{name}" is stopping', {"vm": name, "status": status})
        return output.EXIT_SUCCESS
    facts = settled_vm(client, group, timeout)
    if json_int(facts, "resource_state") != ResourceState.OFFLINE:
        raise _not_reached(name, facts, "off")
    output.say(f'"{name}" is {output.words(json_text(facts, "vm_state_name")).lower()}', facts)
    return output.EXIT_SUCCESS


def pause_(name: str, /) -> int:
    """Stop a virtual machine's CPUs; its memory stays."""
    session.client().call("PauseVirtualMachine", vm=name)
    output.say(f'"{name}" is paused', {"vm": name, "status": 0})
    return output.EXIT_SUCCESS


def resume_(name: str, /) -> int:
    """Let a paused virtual machine run again."""
    session.client().call("ResumeVirtualMachine", vm=name)
    output.say(f'"{name}" runs again', {"vm": name, "status": 0})
    return output.EXIT_SUCCESS


def _online(client: BlockingClient, name: str, *, timeout: float | None, created: JsonObject | None = None) -> int:
    group = json_text(client.call("GetVirtualMachine", vm=name).json("virtual_machine"), "group")
    status = client.call("OnlineGroup", group=group).number("status")
    if timeout is None:
        output.say(f'"{name}" is starting', {"vm": name, "status": status})
        return output.EXIT_SUCCESS
    facts = settled_vm(client, group, timeout)
    if json_int(facts, "resource_state") != ResourceState.ONLINE:
        raise _not_reached(name, facts, "online")
    word = "was created and runs" if created else "runs"
    output.say(f'"{name}" {word} on {json_text(facts, "node")}', facts)
    return output.EXIT_SUCCESS


def _not_reached(name: str, facts: JsonObject, wanted: str) -> FaultError:
    why = json_text(facts, "sentence")
    state = json_text(facts, "resource_state_name").lower().replace("_", " ")
    return FaultError(
        Status.ERROR_RESOURCE_FAILED,
        f'"{name}" is {state}, not {wanted}{": " + why if why else ""}; "quorate events" says what happened',
    )


def _context(action: str | None) -> bytes | None:
    if action is None:
        return None
    from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list

    return pack_property_list(PropertyList.of([("Virtual Machine", PropertyFormat.DWORD, int(_ACTIONS[action]))]))


def _guest(
    guest: str | None,
    kernel: Path | None,
    initrd: Path | None,
    append: str | None,
    builtin: dict[str, JsonValue],
) -> JsonValue:
    given = {key: value for key, value in builtin.items() if value is not None}
    if kernel is None and (initrd is not None or append is not None):
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "--initrd and --append go with --kernel")
    if guest is None and given:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER, "--beat-hz, --fill, --dirty and --dirty-rate go with --guest builtin"
        )
    if guest is not None and kernel is not None:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "--guest builtin and --kernel exclude each other")
    if guest is not None:
        return {"kind": guest, **given}
    if kernel is None:
        return None
    made: dict[str, JsonValue] = {"kind": "kernel", "kernel": _absolute(str(kernel))}
    if initrd is not None:
        made["initrd"] = _absolute(str(initrd))
    if append is not None:
        made["append"] = append
    return made


def _absolute(path: str) -> str:
    """Paths are this shell's; the daemon stands elsewhere."""
    return str(Path(path).expanduser().absolute())


def _definition_of_file(path: Path | None) -> dict[str, JsonValue]:
    if path is None:
        return {}
    import json

    try:
        made = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"--definition {path}: {error}") from error
    if not isinstance(made, dict):
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"--definition {path} is not a JSON object")
    return made


def _memory(definition: JsonObject) -> str:
    memory = json_int(definition, "memory")
    return output.size(memory) if memory else ""
