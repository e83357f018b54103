"""What may be changed in a network, and what follows from a change: Role, Metric and AutoMetric.

Sources: [networks-role], [networks-metric], [networks-autometric].
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.states import NetworkRole
from quorate.clusapi.status import Status
from quorate.cluster.networks import auto_metric


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """A network as it stands."""

    name: str
    role: NetworkRole
    metric: int
    auto_metric: bool


@dataclass(frozen=True, slots=True)
class NetworkChange:
    """What a caller sets; None is left out."""

    role: int | None = None
    metric: int | None = None
    auto_metric: bool | None = None


def plan_network_change(
    change: NetworkChange,
    network: NetworkSettings,
    others: Collection[NetworkSettings],
    dependents: Sequence[str],
) -> NetworkSettings:
    """The network after a change. ``dependents`` are the names of IP Address resources that use it.

    Raises RefusalError 5066 when the cluster would be left without a network between its nodes, 5067 when an IP address
    would be left without a network for clients, CallerError 87 for a Metric along with AutoMetric 1.
    """
    role = network.role if change.role is None else NetworkRole(change.role)
    _check_role(network, role, others, dependents)
    metric, automatic = _metric(change, network)
    moved = role is not network.role and (role is NetworkRole.INTERNAL) != (network.role is NetworkRole.INTERNAL)
    if automatic and (moved or not network.auto_metric):
        metric = auto_metric(role, {other.metric for other in others})
    return NetworkSettings(network.name, role, metric, automatic)


def plan_priority_order(networks: Sequence[NetworkSettings]) -> tuple[int, ...]:
    """The metrics that make networks preferred in the order given: those they have, dealt out anew and made distinct.

    Networks that stand in that order already keep theirs.
    """
    present = [network.metric for network in networks]
    if all(before < after for before, after in pairwise(present)):
        return tuple(present)
    dealt: list[int] = []
    for metric in sorted(present):
        dealt.append(max(metric, dealt[-1] + 1) if dealt else metric)
    return tuple(dealt)


def _check_role(
    network: NetworkSettings, role: NetworkRole, others: Collection[NetworkSettings], dependents: Sequence[str]
) -> None:
    left = [other for other in others if other.role & NetworkRole.INTERNAL]
    if network.role & NetworkRole.INTERNAL and not role & NetworkRole.INTERNAL and not left:
        raise RefusalError(
            Status.ERROR_CLUSTER_LAST_INTERNAL_NETWORK,
            f'"{network.name}" is the only network between the nodes (role {int(network.role)}); give another one role '
            "1 or 3 first",
        )
    if dependents and not role & NetworkRole.CLIENT_ACCESS and network.role & NetworkRole.CLIENT_ACCESS:
        raise RefusalError(
            Status.ERROR_CLUSTER_NETWORK_HAS_DEPENDENTS,
            f'clients reach {", ".join(dependents)} through "{network.name}"; move or delete that address first',
        )


def _metric(change: NetworkChange, network: NetworkSettings) -> tuple[int, bool]:
    """Metric and AutoMetric after a change. A program that writes back all it has read changes nothing."""
    if change.metric is None:
        return network.metric, network.auto_metric if change.auto_metric is None else change.auto_metric
    if not change.auto_metric:
        return change.metric, False
    if change.metric == network.metric:
        return network.metric, True
    if network.auto_metric:
        return change.metric, False
    raise CallerError(
        Status.ERROR_INVALID_PARAMETER,
        f'Metric {change.metric} and AutoMetric 1 exclude each other for "{network.name}"; set one of them',
    )
