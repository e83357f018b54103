"""What is asked of etcd and how the answers are read, and how batches are made of a watch's responses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.errors import FaultError
from quorate.database.contract import Change, Compacted, Compare, Delete, Outcome, Put, Record, StoreUnavailable
from quorate.database.etcd import messages as etcd
from quorate.database.etcd.attempts import Call
from quorate.database.etcd.messages import Method
from quorate.database.etcd.scripts import PAGE, Script, Space, T
from quorate.database.etcd.settings import EtcdSettings
from quorate.database.etcd.watch import Assembler

ORIGIN = etcd.KeyValue(b"q/", 10, 10, 1, b'{"quorate_store": 1}')


def header(revision: int, cluster_id: int = 7) -> etcd.ResponseHeader:
    return etcd.ResponseHeader(cluster_id, 1, revision, 1)


def found(*records: etcd.KeyValue, revision: int = 10, more: bool = False) -> bytes:
    return etcd.RangeResponse(header(revision), records, more).encode()


def run(script: Script[T], *answers: bytes) -> tuple[T, list[Call]]:
    """Run a script on these answers; gives its result and what it asked."""
    calls = [next(script), *(script.send(answer) for answer in answers[:-1])]
    with pytest.raises(StopIteration) as end:
        script.send(answers[-1])
    result: T = end.value.value
    return result, calls


def opened(base: int = 10) -> Space:
    space = Space(EtcdSettings(("http://h",), prefix="q/"))
    origin = etcd.KeyValue(b"q/", base, base, 1, b'{"quorate_store": 1}')
    assert run(space.origin(), found(origin))[0] == base
    return space


def test_the_origin_is_written_by_who_comes_first_and_read_in_any_case() -> None:
    space = Space(EtcdSettings(("http://h",), prefix="q/"))
    written = etcd.TxnResponse(header(10), True).encode()
    base, calls = run(space.origin(), found(revision=9), written, found(ORIGIN))
    assert base == 10
    assert [call.method for call in calls] == [Method.RANGE, Method.TXN, Method.RANGE]
    request = etcd.TxnRequest.decode(calls[1].request)
    assert request.compare == (etcd.Compare(target=etcd.CompareTarget.CREATE, key=b"q/", create_revision=0),)
    assert not calls[1].is_write  # it may be repeated


@pytest.mark.parametrize("value", [b"", b"[]", b'{"quorate_store": "x"}', b'{"quorate_store": 2}'])
def test_an_origin_that_is_not_ours_is_refused(value: bytes) -> None:
    space = Space(EtcdSettings(("http://h",), prefix="q/"))
    script = space.origin()
    next(script)
    with pytest.raises(FaultError):
        script.send(found(etcd.KeyValue(b"q/", 10, 10, 1, value)))


def test_revisions_count_from_the_origin() -> None:
    record, calls = run(opened().get("a"), found(etcd.KeyValue(b"q/a", 12, 15, 2, b"v"), revision=20))
    assert record == Record("a", b"v", 5)
    assert etcd.RangeRequest.decode(calls[0].request) == etcd.RangeRequest(b"q/a")


def test_a_transaction_compares_and_answers_in_the_stores_revisions() -> None:
    space = opened()
    refused = etcd.TxnResponse(
        header(17),
        False,
        (
            etcd.ResponseOp(response_range=etcd.RangeResponse(kvs=(etcd.KeyValue(b"q/a", 11, 16, 2, b"v"),))),
            etcd.ResponseOp(response_range=etcd.RangeResponse()),
        ),
    )
    script = space.transact([Compare("a", 3), Compare("b", 0)], [Put("a", b"x"), Delete("b")])
    outcome, (call,) = run(script, refused.encode())
    assert outcome == Outcome(False, 7, (Record("a", b"v", 6), None))
    assert call.is_write
    assert [compare.mod_revision for compare in etcd.TxnRequest.decode(call.request).compare] == [13, 0]


def test_a_transaction_without_writes_is_a_linearizable_read() -> None:
    outcome, (call,) = run(opened().transact([], []), etcd.TxnResponse(header(12), True).encode())
    assert outcome == Outcome(True, 2)
    assert not call.is_write
    (operation,) = etcd.TxnRequest.decode(call.request).success
    assert operation.request_range is not None and not operation.request_range.serializable


def numbered(begin: int, end: int) -> tuple[etcd.KeyValue, ...]:
    return tuple(etcd.KeyValue(b"q/r%04d" % number, 11, 11, 1) for number in range(begin, end))


def first_page(revision: int) -> bytes:
    page = etcd.RangeResponse(kvs=numbered(0, PAGE), more=True)
    return etcd.TxnResponse(header(revision), True, (etcd.ResponseOp(response_range=page),)).encode()


def test_what_is_long_is_read_page_by_page_at_one_revision() -> None:
    snapshot, calls = run(
        opened().range(["r"], 0),
        first_page(15),
        found(*numbered(PAGE, 2 * PAGE), revision=17, more=True),
        found(*numbered(2 * PAGE, 2 * PAGE + 3), revision=18),
    )
    assert snapshot.revision == 5
    assert [record.key for record in snapshot.records] == [f"r{number:04}" for number in range(2 * PAGE + 3)]
    later = [etcd.RangeRequest.decode(call.request) for call in calls[1:]]
    assert [(request.key, request.range_end, request.revision, request.limit) for request in later] == [
        (b"q/r%04d\0" % (PAGE - 1), b"q/s", 15, PAGE),
        (b"q/r%04d\0" % (2 * PAGE - 1), b"q/s", 15, PAGE),
    ]


def test_a_compaction_that_overtakes_a_long_reading_makes_it_begin_anew() -> None:
    whole = etcd.TxnResponse(header(30), True, (etcd.ResponseOp(response_range=etcd.RangeResponse()),)).encode()
    snapshot, calls = run(opened().range(["r"], 0), first_page(15), b"", whole)
    assert (snapshot.revision, snapshot.records) == (20, ())
    assert calls[1].may_be_compacted
    assert calls[2].request == calls[0].request


def test_another_etcd_behind_the_same_address_is_noticed() -> None:
    space = opened()
    script = space.get("a")
    next(script)
    with pytest.raises(StoreUnavailable, match="another etcd cluster"):
        script.send(etcd.RangeResponse(header(20, cluster_id=8)).encode())


# --- Watching ------------------------------------------------------------------------------------------------------


def test_a_probe_answered_before_the_origin_was_written_is_no_proof_of_a_deleted_store() -> None:
    """Two who ask at once share the origin: the answer of the one may come after the other has written it."""
    space = opened(base=10)
    space.check_probe(found(revision=9))
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        space.check_probe(found(revision=10))


def test_a_watch_asks_from_the_revision_itself_so_that_a_compaction_right_there_shows() -> None:
    request = etcd.WatchRequest.decode(opened().watch_request("a/", 5)).create_request
    assert request == etcd.WatchCreateRequest(b"q/a/", b"q/a0", start_revision=15, fragment=True)


def response(*changes: Change, fragment: bool = False) -> etcd.WatchResponse:
    events = tuple(
        etcd.Event(
            etcd.EventType.DELETE if change.value is None else etcd.EventType.PUT,
            etcd.KeyValue(b"q/" + change.key.encode(), mod_revision=change.revision + 10, value=change.value or b""),
        )
        for change in changes
    )
    return etcd.WatchResponse(header(99), events=events, fragment=fragment)


CHANGES = st.lists(
    st.builds(Change, st.sampled_from("abcdef"), st.none() | st.binary(max_size=3), st.integers(1, 8)),
    unique_by=lambda change: (change.revision, change.key),
).map(lambda changes: sorted(changes, key=lambda change: change.revision))


@given(CHANGES, st.data())
def test_however_responses_are_split_there_is_one_batch_per_revision(
    changes: list[Change], data: st.DataObject
) -> None:
    after = data.draw(st.integers(0, 8))
    assembler = Assembler(opened(), after)
    told = []
    while changes:
        size = data.draw(st.integers(1, len(changes)))
        part, changes = changes[:size], changes[size:]
        within = bool(changes) and changes[0].revision == part[-1].revision
        fragment = within or (bool(changes) and data.draw(st.booleans()))
        told.append((list(assembler.take(response(*part, fragment=fragment))), part))
    batches = [batch for given_, _ in told for batch in given_]
    everything = [change for _, part in told for change in part]
    expected: dict[int, list[Change]] = {}
    for change in everything:
        if change.revision > after:
            expected.setdefault(change.revision, []).append(change)
    assert batches == [tuple(sorted(batch, key=lambda change: change.key)) for _, batch in sorted(expected.items())]


def test_what_comes_again_on_a_new_stream_is_dropped() -> None:
    assembler = Assembler(opened(), 3)
    again = [Change("a", b"1", number) for number in (2, 3, 4)]
    assert list(assembler.take(response(*again))) == [(again[2],)]
    assert list(assembler.take(response(again[2]))) == []


def test_a_sign_of_life_is_no_change() -> None:
    assembler = Assembler(opened(), 0)
    assert list(assembler.take(etcd.WatchResponse(header(50), created=True))) == []
    assert list(assembler.take(etcd.WatchResponse(header(50), watch_id=-1))) == []


def test_a_watch_that_etcd_ends_says_why() -> None:
    assembler = Assembler(opened(), 3)
    with pytest.raises(Compacted, match="up to revision 20 are gone, those after 3"):
        list(assembler.take(etcd.WatchResponse(header(0), canceled=True, compact_revision=30)))
    with pytest.raises(StoreUnavailable, match="permission denied"):
        list(assembler.take(etcd.WatchResponse(header(0), canceled=True, cancel_reason="permission denied")))
