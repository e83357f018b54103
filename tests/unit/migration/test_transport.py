"""How memory is sent, by what the cluster wants and what is known of the way."""

from dataclasses import replace

import pytest

from quorate.clusapi.status import Status
from quorate.migration.rules import Verdict
from quorate.migration.transport import (
    MOST_CHANNELS,
    OLD_VERSION,
    Compression,
    Encryption,
    Way,
    Wishes,
    can_post_copy,
    judge_encryption,
    judge_post_copy,
    plan_transport,
    smallest_limit,
)

LOCAL = Way("node2", over_tcp=False, processors=2)
WIRE = Way("node2", over_tcp=True, encrypts=True, processors=2)
OLD = Way("node2", over_tcp=True, encrypts=False, processors=2)


@pytest.mark.parametrize(
    ("way", "wanted", "encrypted"),
    [
        (WIRE, Encryption.WHERE_POSSIBLE, True),
        (WIRE, Encryption.ALWAYS, True),
        (WIRE, Encryption.NEVER, False),
        (OLD, Encryption.WHERE_POSSIBLE, False),
        (LOCAL, Encryption.ALWAYS, False),
    ],
)
def test_memory_that_leaves_the_machine_is_encrypted(way: Way, wanted: Encryption, encrypted: bool) -> None:
    transport = plan_transport(Wishes(wanted), way)
    assert transport.encrypted is encrypted
    assert ("TLS" in transport.describe()) is encrypted


@pytest.mark.parametrize(
    ("way", "wanted", "verdict"),
    [
        (WIRE, Encryption.ALWAYS, Verdict.OK),
        (LOCAL, Encryption.ALWAYS, Verdict.OK),
        (OLD, Encryption.NEVER, Verdict.OK),
        (OLD, Encryption.WHERE_POSSIBLE, Verdict.WARNS),
        (OLD, Encryption.ALWAYS, Verdict.REFUSES),
    ],
)
def test_what_must_be_encrypted_and_cannot_be_is_refused(way: Way, wanted: Encryption, verdict: Verdict) -> None:
    finding = judge_encryption(Wishes(wanted), way)
    assert finding.verdict is verdict
    assert (finding.status is Status.ERROR_NETWORK_NOT_AVAILABLE) is (verdict is Verdict.REFUSES)
    assert verdict is Verdict.OK or "node2 offer TLS" in finding.sentence


@pytest.mark.parametrize(
    ("processors", "link", "encrypts", "channels"),
    [
        (1, None, False, 0),
        (2, None, False, 2),
        (64, None, False, 2),
        (64, 125e6, False, 2),  # a link of 1 Gb/s is full with less
        (64, 5e9, False, 4),
        (64, 5e9, True, 8),
        (3, 5e9, True, 3),
        (64, 50e9, False, MOST_CHANNELS),
    ],
)
def test_channels_fill_the_link_as_far_as_there_are_processors(
    processors: int, link: float | None, encrypts: bool, channels: int
) -> None:
    way = Way("node2", over_tcp=True, encrypts=encrypts, processors=processors, link=link)
    assert plan_transport(Wishes(), way).channels == channels


def test_post_copy_takes_one_stream_and_says_why() -> None:
    transport = plan_transport(Wishes(), WIRE, post_copy=True)
    assert transport.channels == 0
    assert any("post-copy" in reason for reason in transport.reasons)


@pytest.mark.parametrize(
    ("way", "can", "word", "remedy"),
    [
        (WIRE, True, "", ""),
        (replace(WIRE, huge_page=2 << 20), True, "", ""),
        (replace(WIRE, huge_page=1 << 30), False, "pages of 1024 MiB", "with pages of 2 MiB or with ordinary ones"),
        (replace(WIRE, no_post_copy="no userfaultfd"), False, "no userfaultfd", "make userfaultfd usable on node2"),
        (replace(WIRE, no_post_copy=OLD_VERSION), False, OLD_VERSION, "upgrade Quorate on node2"),
    ],
)
def test_where_pages_cannot_be_fetched_one_by_one_it_is_said_before(
    way: Way, can: bool, word: str, remedy: str
) -> None:
    wishes = Wishes(post_copy=True)
    assert can_post_copy(wishes, way) is can
    found = judge_post_copy(wishes, way)
    assert found.verdict is (Verdict.OK if can else Verdict.WARNS)
    assert word in found.sentence and remedy in found.remedy
    assert not can_post_copy(Wishes(), way)


def test_it_is_said_in_a_few_words_and_each_choice_has_its_reason() -> None:
    way = Way("node2", over_tcp=True, encrypts=True, processors=2, address="192.0.2.7", network="fast")
    transport = plan_transport(Wishes(max_bandwidth=64 << 20, limited_by="somebody says so"), way)
    assert transport.describe() == "2 channels, TLS, at most 64 MiB/s, by fast"
    assert (transport.address, len(transport.reasons)) == ("192.0.2.7", 4)


@pytest.mark.parametrize(
    ("asked", "own", "of_cluster", "limit", "whose"),
    [
        (0, 0, 0, 0, ""),
        (0, 0, 500, 500, "of the cluster"),
        (0, 200, 500, 200, "of the virtual machine"),
        (0, 500, 200, 200, "of the cluster"),
        (100, 200, 500, 100, "was asked for so"),
        (900, 200, 500, 200, "of the virtual machine"),
        (900, 0, 0, 900, "was asked for so"),
    ],
)
def test_the_smallest_bandwidth_limit_that_is_set_holds(
    asked: int, own: int, of_cluster: int, limit: int, whose: str
) -> None:
    found, said = smallest_limit(asked, own, of_cluster)
    assert (found, whose in said) == (limit << 20, True)
    transport = plan_transport(Wishes(max_bandwidth=found, limited_by=said), WIRE)
    assert any(whose in reason and f"at most {limit} MiB/s" in reason for reason in transport.reasons) is bool(limit)


SLOW = replace(WIRE, processors=8, idle=4.0, compression=300e6, link=118e6)


@pytest.mark.parametrize(
    ("way", "wanted", "compressed", "word"),
    [
        (SLOW, Compression.WHERE_FASTER, True, "118 MB/s, idle processors compress 600 MB/s"),
        (replace(SLOW, link=500e6), Compression.WHERE_FASTER, False, "500 MB/s"),
        (replace(SLOW, idle=1.9), Compression.WHERE_FASTER, True, "compress 300 MB/s"),
        (replace(SLOW, idle=0.9), Compression.WHERE_FASTER, False, "no processor is idle"),
        (replace(SLOW, idle=0.9), Compression.ALWAYS, True, "is 2"),
        (replace(SLOW, link=None), Compression.WHERE_FASTER, False, "not measured"),
        (replace(SLOW, compression=None), Compression.ALWAYS, False, "not both ends can"),
        (replace(SLOW, over_tcp=False), Compression.WHERE_FASTER, False, "no link"),
        (replace(SLOW, processors=1), Compression.ALWAYS, False, "one stream"),
        (SLOW, Compression.NEVER, False, "is 0"),
    ],
)
def test_memory_is_compressed_where_idle_processors_outrun_the_measured_link(
    way: Way, wanted: Compression, compressed: bool, word: str
) -> None:
    transport = plan_transport(Wishes(compression=wanted), way)
    assert transport.compressed is compressed
    assert ("zstd" in transport.describe()) is compressed
    assert word in transport.reasons[2]
