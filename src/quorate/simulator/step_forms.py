"""How commands, faults, nodes and virtual machines are written in scenario files: one form each."""

import re
from dataclasses import replace
from typing import Final, get_args

from quorate.migration import incoming, outgoing
from quorate.simulator import steps
from quorate.simulator import word_kinds as k
from quorate.simulator.phrases import Form, Kind, PhraseMistake, form, read, write
from quorate.simulator.setup import NodeSetup, VmSetup
from quorate.simulator.steps import Action, At, On, Step, When

_KINDS: Final[dict[str, Kind]] = {
    "name": k.NAME,
    "names": k.NAMES,
    "node": replace(k.NAME, name="NODE"),
    "nodes": replace(k.NAMES, name="NODES"),
    "property": replace(k.NAME, name="PROPERTY"),
    "vm": replace(k.NAME, name="VM"),
    "seconds": k.SECONDS,
    "span": k.SPAN,
    "size": k.SIZE,
    "memory": k.MEMORY,
    "rate": k.RATE,
    "whole": k.WHOLE,
    "real": k.REAL,
    "how": k.choice("HOW", ("save", "shut down", "turn off")),
    "failback": k.choice("WHEN", ("none", "immediate", "policy")),
    "network": k.choice("NETWORK", get_args(steps.Network)),
    "mode": k.choice("MODE", get_args(steps.DatabaseMode)),
}

_ACTIONS: Final[tuple[tuple[type, str], ...]] = (
    (steps.Start, "start {vm:vm}"),
    (steps.Stop, "stop {vm:vm} [by {how:how}]"),
    (steps.Migrate, "migrate {vm:vm} [to {to:node}]"),
    (steps.Cancel, "cancel {vm:vm}"),
    (steps.Move, "move {vm:vm} [to {to:node}]"),
    (steps.Pause, "pause {node:node}"),
    (steps.Drain, "drain {node:node} [to {to:node}] [not remaining =!remain] [retrying =retry]"),
    (steps.Resume, "resume {node:node} [failback {failback:failback}]"),
    (steps.ConfirmOff, "confirm-off {node:node}"),
    (steps.Evict, "evict {node:node}"),
    (steps.Admit, "admit {node:node}"),
    (steps.SetCluster, "set {name:property} {value:whole}"),
    (steps.SetGroup, "set {vm:vm} {name:property} {value:whole}"),
    (steps.KillDaemon, "kill daemon {node:node} [for {seconds:span}]"),
    (steps.PauseDaemon, "freeze daemon {node:node} [for {seconds:span}]"),
    (steps.KillGuard, "kill guard {node:node}"),
    (steps.PowerOff, "power off {node:node} [for {seconds:span}]"),
    (steps.Suspend, "suspend {node:node} [for {seconds:span}]"),
    (steps.Database, "database {mode:mode} [at {nodes:nodes}] [for {seconds:span}]"),
    (steps.Cut, "cut {network:network} {node:node} [from {other:node}] [one way =one_way] [for {seconds:span}]"),
    (
        steps.Foul,
        "foul [loss {loss:real}] [duplication {duplication:real}] [delay {delay:seconds}] [for {seconds:span}]",
    ),
    (steps.KillQemu, "kill qemu {vm:vm} [on {node:node}]"),
    (steps.FreezeQemu, "freeze qemu {vm:vm} [on {node:node}] [for {seconds:span}]"),
    (steps.FailLaunch, "fail launch {node:node} [times {times:whole}]"),
    (steps.FailLoad, "fail load {vm:vm}"),
    (steps.FullDisk, "full disk {node:node} [for {seconds:span}]"),
    (steps.Dirty, "dirty {vm:vm} {rate:rate}"),
    (steps.Bandwidth, "bandwidth {node:node} {rate:rate} [for {seconds:span}]"),
    (steps.Drift, "drift {node:node} {ppm:real}"),
)
ACTION_FORMS: Final[tuple[Form, ...]] = tuple(form(make, pattern, _KINDS) for make, pattern in _ACTIONS)
"""Of everything that may happen to a world from outside."""

NODE_FORM: Final = form(
    NodeSetup,
    "node {name:name} [memory {memory:memory}] [link {bandwidth:rate}] [drift {drift:real}] [booted {booted:seconds}]",
    _KINDS,
)
VM_FORM: Final = form(
    VmSetup,
    "vm {name:name} on {on:node} [memory {memory:memory}] [used {used:size}] [dirty {dirty:rate}] "
    "[working-set {working_set:size}] [offline =!online] [priority {priority:whole}] [possible {possible:nodes}] "
    "[preferred {preferred:nodes}] [classes {classes:names}] [failback =failback] [locked =locked] "
    "[post-copy =post_copy]",
    _KINDS,
)

_AT: Final = re.compile(r"at (\S+?):?(?: +(.*))?")
_WHEN: Final = re.compile(
    r"when (?P<vm>\S+) is (?P<phase>[a-z][a-z -]*?)(?: at the (?P<side>source|destination))?"
    r"(?: the (?P<nth>\d+)(?:st|nd|rd|th) time)?(?:, (?P<after>\S+) later)?: +(?P<rest>.*)"
)
_SOURCE: Final = tuple(phase.value for phase in outgoing.Phase)
_DESTINATION: Final = tuple(phase.value for phase in incoming.Phase)
_HOW_WHEN: Final = "when VM is PHASE [at the destination] [the 2nd time] [, SECONDS later]: …"


def words(action: Action) -> str:
    """Write a command or a fault as a line in plain words."""
    return write(ACTION_FORMS, action)


def read_action(line: str) -> Action:
    """Read a command or a fault. Raises PhraseMistake."""
    return read(ACTION_FORMS, line.split())  # type: ignore[return-value]


def read_step(line: str) -> Step:
    """Read ``at 5: migrate vm1`` or ``when vm1 is giving: …``. Raises PhraseMistake."""
    if line.startswith("when "):
        return _read_on(line)
    found = _AT.fullmatch(line)
    if found is None or not found[2]:
        raise PhraseMistake("a step is written: at SECONDS: …")
    try:
        seconds = k.SECONDS.read(found[1])
    except ValueError as error:
        raise PhraseMistake(f"“{found[1]}” is no time: {error}") from error
    assert isinstance(seconds, float)
    return Step(At(seconds), read_action(found[2]))


def _read_on(line: str) -> Step:
    found = _WHEN.fullmatch(line)
    if found is None:
        raise PhraseMistake(f"a step that waits for a migration is written: {_HOW_WHEN}")
    phase = found["phase"]
    side = found["side"] or ("source" if phase in _SOURCE else "destination")
    if phase not in (_SOURCE if side == "source" else _DESTINATION):
        raise PhraseMistake(
            f"no {side} of a migration is ever “{phase}”. Phases of a source: {', '.join(_SOURCE)}; "
            f"of a destination: {', '.join(_DESTINATION)}"
        )
    try:
        after = k.SECONDS.read(found["after"] or "0")
    except ValueError as error:
        raise PhraseMistake(f"“{found['after']}” is no time: {error}") from error
    assert isinstance(after, float)
    is_source = side == "source"
    when = On(found["vm"], phase, "source" if is_source else "destination", after, int(found["nth"] or "1"))
    return Step(when, read_action(found["rest"]))


def write_step(step: Step) -> str:
    """Write a step as a line."""
    return f"{write_when(step.when)}: {words(step.action)}"


def write_when(when: When) -> str:
    """Write when a step happens."""
    if isinstance(when, At):
        return f"at {k.number(when.seconds)}"
    is_usual = when.side == ("source" if when.phase in _SOURCE else "destination")
    side = "" if is_usual else f" at the {when.side}"
    nth = "" if when.nth == 1 else f" the {when.nth}{_ORDINAL.get(when.nth, 'th')} time"
    after = f", {k.number(when.after)} later" if when.after else ""
    return f"when {when.vm} is {when.phase}{side}{nth}{after}"


_ORDINAL: Final = {2: "nd", 3: "rd"}
