"""What a node does beside its work: it looks after its networks and, when it coordinates, after the database."""

from quorate.clusapi.identity import NodeId
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.coordination import coordinating_node
from quorate.database.maintenance import StoreMaintenance
from quorate.engine.maintenance import Maintenance
from quorate.engine.network_watch import NetworkWatch
from quorate.engine.networks import Networks
from quorate.engine.view import ClusterView


class Upkeep:
    """Begins when the node can be reached, and ends first."""

    def __init__(
        self, node: NodeId, database: ClusterDatabase, view: ClusterView, store: StoreMaintenance, peers_address: str
    ) -> None:
        """``peers_address`` is where this node listens for the others."""
        self._node = node
        self._view = view
        self._networks = Networks(node, database, view, peers_address)
        self._watch = NetworkWatch(node, database, view, self._is_coordinator)
        self._maintenance = Maintenance(node, database, view, store, self._is_coordinator)

    def start(self) -> None:
        """Begin."""
        self._networks.start()
        self._watch.start()
        self._maintenance.start()

    async def close(self) -> None:
        """End."""
        await self._maintenance.close()
        await self._watch.close()
        await self._networks.close()

    def _is_coordinator(self) -> bool:
        return coordinating_node(self._view.snapshot) == self._node
