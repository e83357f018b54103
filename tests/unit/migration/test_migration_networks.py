"""Which network memory takes, by MigrationNetworkOrder, MigrationExcludeNetworks and the metrics."""

from dataclasses import replace

import pytest

from quorate.clusapi.identity import NetworkId
from quorate.migration.migration_networks import Passage, Passages, order_passages
from quorate.migration.path_rules import PathSight, judge_path


def passage(name: str, metric: int, *, trouble: str = "", is_used: bool = True) -> Passage:
    return Passage(NetworkId(f"id-{name}"), name, metric, f"192.0.2.{metric}", is_used, trouble)


LAN, SAN, OFFICE = passage("lan", 10), passage("san", 20), passage("office", 30)
ALL = (OFFICE, SAN, LAN)


@pytest.mark.parametrize(
    ("order", "excluded", "names"),
    [
        ("", "", ["lan", "san", "office"]),
        ("id-office", "", ["office", "lan", "san"]),
        (" ID-SAN ; id-lan;", "", ["san", "lan", "office"]),
        ("san;office", "", ["san", "office", "lan"]),
        ("id-unknown;id-office", "", ["office", "lan", "san"]),
        ("", "id-lan", ["san", "office"]),
        ("lan;san", "lan", ["san", "office"]),
        ("", "lan;id-san;office", []),
    ],
)
def test_the_order_first_then_the_metric_and_never_what_is_excluded(
    order: str, excluded: str, names: list[str]
) -> None:
    passages = order_passages(ALL, order, excluded)
    assert [one.name for one in passages.tried] == names
    assert len(passages.left_out) == len(ALL) - len(names)
    assert passages.none_may_be_used is (not names)


def test_one_whose_end_is_down_is_tried_last_wherever_the_order_has_it() -> None:
    broken = passage("san", 20, trouble="node2 - eth1 is not up")
    assert [one.name for one in order_passages((broken, LAN, OFFICE), "san", "").tried] == ["lan", "office", "san"]


def test_one_that_the_cluster_does_not_use_is_taken_only_if_it_is_named() -> None:
    spare = passage("spare", 5, is_used=False)
    passages = order_passages((spare, LAN), "", "")
    assert [one.name for one in passages.tried] == ["lan"]
    (left_out,) = passages.left_out
    assert (
        left_out.sentence
        == "spare is not used by the cluster, as its Role is 0, and MigrationNetworkOrder does not name it"
    )
    assert [one.name for one in order_passages((spare, LAN), "spare", "").tried] == ["spare", "lan"]


def test_where_no_network_is_left_the_remedies_are_true_of_the_reasons() -> None:
    spare = passage("spare", 5, is_used=False)
    unused = order_passages((spare,), "", "")
    finding = judge_path(PathSight("node2", left_out=unused.left_out))
    assert finding.remedy == 'name spare in MigrationNetworkOrder, or quorate network set "spare" Role=1'
    assert order_passages((spare,), "spare", "").tried, "the first"
    assert order_passages((replace(spare, is_used=True),), "", "").tried, "the second"
    both = order_passages((spare, LAN), "", "lan")
    finding = judge_path(PathSight("node2", left_out=both.left_out))
    assert finding.remedy.startswith("take lan out of MigrationExcludeNetworks; or name spare in MigrationNetworkOrder")
    twice = order_passages((spare,), "", "spare").left_out[0].remedy
    assert twice.startswith("take spare out of MigrationExcludeNetworks, and name spare in MigrationNetworkOrder")


def test_only_where_networks_are_known_and_ruled_out_none_may_be_used() -> None:
    assert order_passages(ALL, "", "lan;san;office").none_may_be_used
    assert not order_passages((), "", "lan").none_may_be_used
    assert not Passages().none_may_be_used
