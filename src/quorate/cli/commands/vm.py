"""``quorate vm …``, except what moves a VM and its console."""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class BuiltinOptions:
    """What the built-in guest does."""

    beat_hz: int | None = None
    "How often a second the built-in guest counts."
    fill: str | None = None
    "Memory that the built-in guest fills once, such as 700M."
    dirty: str | None = None
    "Memory that the built-in guest rewrites again and again."
    dirty_rate: str | None = None
    "How much of it per second, such as 300M."

    def given(self) -> dict[str, JsonValue]:
        """The options that were given, by the definition's names."""
        names: dict[str, JsonValue] = {
            "beat_hz": self.beat_hz,
            "fill_bytes": self.fill,
            "dirty_bytes": self.dirty,
            "dirty_bytes_per_second": self.dirty_rate,
        }
        return {name: value for name, value in names.items() if value is not None}


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """What a machine is made of."""

    memory: str | None = None
    "Its memory, such as 512M or 1G; 128M for the built-in guest."
    disk: Annotated[list[str] | None, Parameter(negative="")] = None
    "A disk image; repeat for more."
    cpus: int | None = None
    "How many virtual CPUs."
    kernel: Path | None = None
    "A Linux kernel to start directly."
    initrd: Path | None = None
    "The kernel's initial RAM disk."
    append: str | None = None
    "The kernel's command line."
    nic: Annotated[list[str] | None, Parameter(negative="")] = None
    "A network card: user, tap=NAME, bridge=NAME or switch=NAME; repeat for more."
    guest: Literal["builtin"] | None = None
    "The built-in guest, which counts, dirties memory and prints its count: needs no disk."
    definition: Path | None = None
    "A JSON file with the whole definition; the other options change it."

    def whole(self, builtin: BuiltinOptions) -> dict[str, JsonValue]:
        """The definition that the options make. Raises CallerError 87 for options that do not go together."""
        made = _definition_of_file(self.definition)
        simple: dict[str, JsonValue] = {
            "memory": self.memory or ("128M" if self.guest and "memory" not in made else None),
            "vcpus": self.cpus,
            "disks": None if self.disk is None else [_absolute(path) for path in self.disk],
            "nics": self.nic,
            "guest": self._guest(builtin.given()),
        }
        return {**made, **{key: value for key, value in simple.items() if value is not None}}

    def _guest(self, builtin: dict[str, JsonValue]) -> JsonValue:
        if self.kernel is None and (self.initrd is not None or self.append is not None):
            raise _together("--initrd and --append go with --kernel")
        if self.guest is None and builtin:
            raise _together("--beat-hz, --fill, --dirty and --dirty-rate go with --guest builtin")
        if self.guest is not None and self.kernel is not None:
            raise _together("--guest builtin and --kernel exclude each other")
        if self.guest is not None:
            return {"kind": self.guest, **builtin}
        if self.kernel is None:
            return None
        made: dict[str, JsonValue] = {"kind": "kernel", "kernel": _absolute(str(self.kernel))}
        if self.initrd is not None:
            made["initrd"] = _absolute(str(self.initrd))
        if self.append is not None:
            made["append"] = self.append
        return made


def create_(
    name: str,
    /,
    *,
    machine: Annotated[MachineOptions | None, Parameter(name="*")] = None,
    builtin: Annotated[BuiltinOptions | None, Parameter(name="*")] = None,
    node: str | None = None,
    start: bool = False,
) -> int:
    """Make a virtual machine.

    Parameters
    ----------
    name
        Its name.
    node
        Its first node; the best one, if left out.
    start
        Start it at once.
    """
    definition = (machine or MachineOptions()).whole(builtin or BuiltinOptions())
    client = session.client()
    created = client.call("CreateVirtualMachine", name=name, definition=definition, node=node).as_json()
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
        ("Memory sent", progress.transport or "-"),
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


def _together(sentence: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_PARAMETER, sentence)


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
