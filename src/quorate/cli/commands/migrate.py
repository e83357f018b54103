"""``quorate vm migrate`` and ``quorate vm cancel``."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from quorate.cli import output
from quorate.cli.session import session
from quorate.client.blocking import BlockingClient
from quorate.client.following import MigrationResult
from quorate.client.watching import MigrationWatch
from quorate.clusapi.control_codes import CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION, CLUSCTL_RESOURCE_VM_START_MIGRATION
from quorate.clusapi.errors import FaultError, RefusalError, error_from_status
from quorate.clusapi.json_types import JsonObject, json_text
from quorate.clusapi.migration_input import check_bandwidth_limit, pack_destination
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import MigrationState
from quorate.clusapi.status import Status


def migrate(
    name: str,
    /,
    *,
    to: str | None = None,
    policy: str = "",
    bandwidth_limit: int = 0,
    wait: bool = True,
    dry_run: bool = False,
) -> int:
    """Move a running virtual machine to another node while it runs.

    Parameters
    ----------
    name
        The virtual machine.
    to
        The node to move it to; the one with most free memory, if left out.
    policy
        How far it may go, for this once: gentle, default, must-move or never-postcopy. If left out, as the virtual
        machine's property MigrationPolicy says, or the cluster's.
    bandwidth_limit
        MiB/s that it may take, for this once. The smallest that is set holds: this one, the virtual machine's property
        MigrationBandwidthLimit, or the cluster's. 0 is no limit.
    wait
        Show the progress until it is over. Ctrl-C leaves the migration running.
    dry_run
        Begin nothing: look at the guest and the link for some seconds, and tell how it would go.
    """
    check_bandwidth_limit(bandwidth_limit)
    client = session.client()
    if dry_run:
        from quorate.cli.commands.forecast import tell_forecast

        return tell_forecast(client, name, to, policy, bandwidth_limit)
    facts = client.call("GetVirtualMachine", vm=name).json("virtual_machine")
    group = json_text(facts, "group")
    _control(client, facts, CLUSCTL_RESOURCE_VM_START_MIGRATION, pack_destination(to, policy, bandwidth_limit))
    if not wait:
        output.say(f'"{name}" is on its way; quorate vm show {name} tells how far', {"vm": name, "started": True})
        return output.EXIT_SUCCESS
    watch = MigrationWatch(client, group)
    try:
        with _display(name) as display:
            for progress in watch:
                display.update(progress)
    except KeyboardInterrupt:
        sys.stderr.write(
            f'\nno longer watching; the migration of "{name}" goes on. '
            f"quorate vm show {name} tells how far, quorate vm cancel {name} ends it\n"
        )
        return output.EXIT_INTERRUPTED
    assert watch.result is not None  # the iteration ends with one
    return _tell(name, watch.result)


def cancel(name: str, /) -> int:
    """Cancel the migration of a virtual machine, which then goes on where it is."""
    client = session.client()
    facts = client.call("GetVirtualMachine", vm=name).json("virtual_machine")
    try:
        _control(client, facts, CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION, None)
    except RefusalError as refusal:
        progress = client.call("GetMigrationProgress", vm=json_text(facts, "group")).json("progress")
        already = MigrationProgress.from_json(progress).state is MigrationState.CANCELED
        if refusal.status != Status.ERROR_INVALID_STATE or not already:
            raise
        output.say(f'the migration of "{name}" was cancelled already', {"vm": name, "cancelled": True})
        return output.EXIT_SUCCESS
    output.say(f'the migration of "{name}" was cancelled; it runs on', {"vm": name, "cancelled": True})
    return output.EXIT_SUCCESS


def _control(client: BlockingClient, facts: JsonObject, code: int, in_buffer: bytes | None) -> None:
    resource = json_text(facts, "vm_resource")
    answer = client.call("ResourceControl", resource=resource, control_code=code, in_buffer=in_buffer)
    if status := answer.number("status"):
        raise error_from_status(status, answer.optional_text("sentence") or "the virtual machine refused")


def _tell(name: str, result: MigrationResult) -> int:
    if session.json:
        output.print_json(
            {
                "vm": name,
                "ok": result.ok,
                "migration_state": int(result.state),
                "migration_state_name": result.state.name,
                "node": result.node,
                "source": result.source,
                "destination": result.destination,
                "failure_reason": result.failure_reason,
                "sentence": result.sentence,
            }
        )
    if result.ok:
        if not session.json:
            sys.stdout.write(f'"{name}" runs on {result.node}\n')
        return output.EXIT_SUCCESS
    if session.json:
        return output.EXIT_REFUSAL if result.state is MigrationState.CANCELED else output.EXIT_FAULT
    if result.state is MigrationState.CANCELED:
        raise RefusalError(Status.ERROR_CANCELLED, f'the migration was cancelled; "{name}" runs on {result.node}')
    raise FaultError(
        Status.ERROR_GEN_FAILURE,
        f"the migration failed (0x{result.failure_reason:08X}); {result.sentence or f'{name} is on {result.node}'}",
    )


# --- Showing it ----------------------------------------------------------------------------------------------------


class Display(Protocol):
    """Shows progress."""

    def update(self, progress: MigrationProgress) -> None:
        """Show one look at the migration."""
        ...


class _Silent:
    """Programs wait for the result."""

    def update(self, progress: MigrationProgress) -> None:
        """Say nothing."""


class _Lines:
    """Without a terminal: a line when a phase or a pass begins."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: tuple[str, int] | None = None

    def update(self, progress: MigrationProgress) -> None:
        """Print a line if there is news."""
        if (told := (progress.phase, progress.passes)) != self._told:
            self._told = told
            sys.stdout.write(f"{self._name}: {describe(progress)}\n")
            sys.stdout.flush()


@contextmanager
def _display(name: str) -> "Iterator[Display]":
    if session.json:
        yield _Silent()
    elif not sys.stdout.isatty():
        yield _Lines(name)
    else:
        from quorate.cli.commands.migration_bar import MigrationBar

        with MigrationBar(name, output.console()) as bar:
            yield bar


def describe(progress: MigrationProgress) -> str:
    """One look at a migration in a line."""
    parts = [f"{progress.percent:3d} %", "queued" if progress.queued else progress.phase or progress.state.name.lower()]
    if progress.passes:
        parts.append(f"pass {progress.passes}")
    if progress.remaining:
        parts.append(f"{output.size(progress.remaining)} left")
    if progress.rate:
        limit = next((f" ({word})" for word in progress.transport.split(", ") if word.startswith("at most ")), "")
        parts.append(f"{output.size(progress.rate)}/s{limit}")
    if progress.dirty_rate:
        parts.append(f"dirties {output.size(progress.dirty_rate)}/s")
    if progress.time_left is not None and progress.is_running:
        parts.append(f"{progress.time_left:.1f} s to go")
    return ", ".join(parts)
