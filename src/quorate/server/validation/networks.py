"""Checks of the networks: all up, and more than one."""

from quorate.clusapi.states import NetworkRole, NetworkState
from quorate.server.validation.facts import Situation
from quorate.server.validation.findings import Finding, Verdict, count, or_well

_REMEDY = "look at cables and switches, and at a firewall for UDP at the peers' port; quorate interface list says more"


def check_states(situation: Situation) -> tuple[Finding, ...]:
    """Every network connects all nodes that are up."""
    rule = "networks up"
    if situation.one_machine:
        return (Finding(rule, Verdict.OK, "none", "The nodes share one machine; there is no network between them."),)
    found = []
    for network in situation.networks:
        if network.state in (NetworkState.PARTITIONED, NetworkState.DOWN) and network.role is not NetworkRole.NONE:
            word = network.state.name.lower()
            verdict = Verdict.FAILED if network.state is NetworkState.DOWN else Verdict.WARNING
            sentence = f"The network {network.name} is {word}: {network.sentence}."
            found.append(Finding(rule, verdict, word, sentence, _REMEDY))
    up = sum(network.state is NetworkState.UP for network in situation.networks)
    return or_well(found, rule, f"{up} of {len(situation.networks)}", "The nodes reach each other on every network.")


def check_number(situation: Situation) -> tuple[Finding, ...]:
    """More than one network: with a single one a switch takes the whole cluster apart."""
    rule = "networks"
    if situation.one_machine:
        return ()
    between = [network for network in situation.networks if network.role & NetworkRole.INTERNAL]
    if len(between) < 2:
        number = count(len(between), "network")
        sentence = f"There is {number} between the nodes; when it fails, every node is alone."
        remedy = "connect the nodes by a second subnet; it is found by itself"
        return (Finding(rule, Verdict.WARNING, number, sentence, remedy),)
    sentence = "The nodes are connected by more than one network."
    return (Finding(rule, Verdict.OK, count(len(between), "network"), sentence),)
