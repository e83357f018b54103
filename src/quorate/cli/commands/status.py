"""``quorate status``."""

import time
from typing import TYPE_CHECKING, Final, NoReturn

from quorate.cli import output
from quorate.cli.commands.tables import drain_lines, group_rows, network_rows, node_rows, reason_lines, vm_rows
from quorate.cli.session import session
from quorate.client.blocking import BlockingClient
from quorate.clusapi.json_types import JsonObject, json_object, json_objects, json_text

if TYPE_CHECKING:
    from rich.console import RenderableType


_TROUBLED: Final = ("PARTITIONED", "DOWN", "UNKNOWN")


def status(*, watch: bool = False, interval: float = 1.0) -> int:
    """Show the nodes, virtual machines and groups of the cluster.

    Parameters
    ----------
    watch
        Go on showing it until Ctrl-C.
    interval
        Seconds between two looks.
    """
    client = session.client()
    if not watch:
        facts = client.call("GetStatus").as_json()
        output.show(facts, _page(facts) if not session.json else "")
        return output.EXIT_SUCCESS
    try:
        _watch(client, interval)
    except KeyboardInterrupt:
        return output.EXIT_SUCCESS  # that is how watching ends


def _watch(client: BlockingClient, interval: float) -> NoReturn:
    if session.json:
        while True:
            output.print_json(client.call("GetStatus").as_json())
            time.sleep(interval)
    from rich.live import Live

    with Live(console=output.console(), auto_refresh=False, screen=False) as live:
        while True:
            live.update(_page(client.call("GetStatus").as_json()), refresh=True)
            time.sleep(interval)


def _page(facts: JsonObject) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    machines = json_objects(facts, "virtual_machines")
    of_machines = {json_text(machine, "group") for machine in machines}
    others = [group for group in json_objects(facts, "groups") if json_text(group, "id") not in of_machines]
    parts = [node_rows(json_objects(facts, "nodes"), f"Cluster {json_text(json_object(facts, 'cluster'), 'name')}")]
    parts.append(vm_rows(machines) if machines else "No virtual machines yet: quorate vm create NAME --guest builtin\n")
    if others:
        parts.append(group_rows(others))
    silence = json_text(json_object(facts, "cluster"), "database")
    if silence:
        parts.insert(0, Text(silence, style="yellow"))
    drains = drain_lines(json_objects(facts, "nodes"))
    if drains:
        parts.append(Text(drains + "\n"))
    reasons = reason_lines([*machines, *others])
    if reasons:
        parts.append(Text(reasons + "\n"))
    networks = [one for one in json_objects(facts, "networks") if json_text(one, "state_name") in _TROUBLED]
    if networks:
        parts.append(network_rows(networks, "Networks that are not well"))
    return Group(*parts)
