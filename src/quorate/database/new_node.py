"""A node that is added: its number, its name and its key, as part of a transaction in the making."""

from quorate.clusapi.identity import NodeId
from quorate.database import keys
from quorate.database.contract import Store
from quorate.database.plan import Plan, Values
from quorate.database.records import Admission, Counter
from quorate.database.values import RegistryValue

NODE_COUNTER = "nodes"


async def plan_new_node(planned: Plan, store: Store, name: str, properties: Values | None) -> NodeId:
    """Plan a node with a number that no node ever had. A taken name shows when the plan is committed (5010)."""
    numbers = await store.get(keys.counter(NODE_COUNTER))
    number = 1 if numbers is None else Counter.decode(numbers.value).last + 1
    if numbers is None:
        planned.create(keys.counter(NODE_COUNTER), Counter(number).encode())
    else:
        planned.replace(numbers, Counter(number).encode())
    node = NodeId(str(number))
    planned.claim_name("node", name, node)
    planned.create_key(keys.node_path(node), {**(properties or {}), "NodeName": RegistryValue.sz(name)})
    planned.create(keys.admission(node), Admission().encode())
    return node
