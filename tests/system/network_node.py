"""What of a node looks after its networks, as a process of its own: `python network_node.py DATABASE NODE ADDRESS`."""

import asyncio
import signal
import sys
from pathlib import Path

from quorate.clusapi.identity import NodeId
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.records import NodeFacts
from quorate.database.sqlite import SqliteStore
from quorate.engine.networks import Networks
from quorate.engine.view import ClusterView


async def main(database_file: Path, node: NodeId, peers_address: str) -> None:
    store = SqliteStore(database_file)
    database = ClusterDatabase(store)
    await database.write_node_facts(node, NodeFacts("", peers_address, 1, "1.0"))
    view = ClusterView(database, node)
    await view.start()
    networks = Networks(node, database, view, peers_address)
    networks.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await networks.close()
    await view.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), NodeId(sys.argv[2]), sys.argv[3]))
