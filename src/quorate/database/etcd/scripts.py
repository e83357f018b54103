"""What a store asks etcd, in which order, and what the answers mean: the same for both faces, without input or output.

A script is a generator: it yields a ``Call``, is sent the answer's bytes and returns what the contract promises. Who
runs it decides which member is asked (attempts.py) and does the asking (client.py, blocking.py).

**Keys.** ``prefix + key``. The key that is the prefix itself, which no key of the contract can be, is the *origin*: it
is written once, by whoever comes first, and never again.

**Revisions.** etcd counts one revision for all that it holds. The store's revision is etcd's minus the one that created
the origin: an empty store is at 0, and its first transaction is 1. A stranger's writes beside our prefix raise it too;
nothing relies on there being no gaps.
"""

import json
from collections.abc import Generator, Sequence
from typing import Final, TypeAlias, TypeVar

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.database.contract import (
    Compare,
    Outcome,
    Put,
    Record,
    Snapshot,
    StoreUnavailable,
    Write,
    check_key,
    check_transaction,
    prefix_end,
)
from quorate.database.etcd import messages as etcd
from quorate.database.etcd.attempts import Call
from quorate.database.etcd.messages import Method
from quorate.database.etcd.settings import EtcdSettings

T = TypeVar("T")
Script: TypeAlias = Generator[Call, bytes, T]

SCHEMA: Final = 1
PAGE: Final = 500
"""Records asked for at once: no answer is large, and none takes long to read."""
_ORIGIN: Final = json.dumps({"quorate_store": SCHEMA}).encode()


class Space:
    """One store's part of etcd, and the scripts that work on it."""

    def __init__(self, settings: EtcdSettings) -> None:
        """Know the prefix; the origin is looked up by the first script that needs it."""
        self._prefix = settings.prefix.encode()
        self._text = settings.prefix
        self._base: int | None = None
        self._cluster_id: int | None = None
        self.probe = Call(Method.RANGE, etcd.RangeRequest(key=self._prefix).encode())
        """A harmless linearizable read: of the origin."""

    # --- What the contract promises --------------------------------------------------------------------------------

    def get(self, key: str) -> Script[Record | None]:
        """Read one record."""
        yield from self.origin()
        answer = yield Call(Method.RANGE, etcd.RangeRequest(key=self._key(key)).encode())
        found = etcd.RangeResponse.decode(answer)
        self._revision(found.header)
        return self._record(found.kvs[0]) if found.kvs else None

    def range(self, prefixes: Sequence[str], after: int) -> Script[Snapshot]:
        """Read what lies under the prefixes at one revision, page by page.

        A compaction that overtakes the reading of later pages makes it begin anew.
        """
        base = yield from self.origin()
        while True:
            snapshot = yield from self._range(base, prefixes, after)
            if snapshot is not None:
                return snapshot

    def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Script[Outcome]:
        """Write everything if every compare holds."""
        check_transaction(compares, writes)
        base = yield from self.origin()
        success = tuple(self._operation(write) for write in writes)
        if not success:  # with nothing in it, etcd would answer from what the member happens to know
            success = (etcd.RequestOp(request_range=etcd.RangeRequest(self._prefix, count_only=True)),)
        request = etcd.TxnRequest(
            compare=tuple(self._compare(compare, base) for compare in compares),
            success=success,
            failure=tuple(
                etcd.RequestOp(request_range=etcd.RangeRequest(self._key(compare.key))) for compare in compares
            ),
        )
        answer = etcd.TxnResponse.decode((yield Call(Method.TXN, request.encode(), is_write=bool(writes))))
        revision = self._revision(answer.header) - base
        if answer.succeeded:
            return Outcome(True, revision)
        found = tuple(response.response_range for response in answer.responses)
        return Outcome(False, revision, tuple(self._record(one.kvs[0]) if one and one.kvs else None for one in found))

    def revision(self) -> Script[int]:
        """The store's revision now."""
        base = yield from self.origin()
        return self._revision(etcd.RangeResponse.decode((yield self.probe)).header) - base

    def compact(self, revision: int) -> Script[None]:
        """Forget the changes up to a revision. ValueError: it is still to come."""
        base = yield from self.origin()
        now = yield from self.revision()
        if revision > now:
            raise ValueError(f"revision {revision} is still to come: the store is at {now}")
        if revision > 0:
            request = etcd.CompactionRequest(base + revision)
            yield Call(Method.COMPACT, request.encode(), may_be_compacted=True)

    # --- The origin ------------------------------------------------------------------------------------------------

    def origin(self) -> Script[int]:
        """The revision of etcd that is the store's 0; writes the origin if nobody has.

        Raises:
            FaultError: what lies at the prefix is not ours, or was made by a newer Quorate.
        """
        while self._base is None:
            found = etcd.RangeResponse.decode((yield self.probe))
            self._revision(found.header)
            if found.kvs:
                self._base = self._check_origin(found.kvs[0])
                break
            missing = etcd.Compare(target=etcd.CompareTarget.CREATE, key=self._prefix, create_revision=0)
            put = etcd.RequestOp(request_put=etcd.PutRequest(self._prefix, _ORIGIN))
            # Not a write in the sense of attempts.py: as often as it is sent, it lands once, and what counts is read.
            yield Call(Method.TXN, etcd.TxnRequest((missing,), (put,)).encode())
        return self._base

    def check_probe(self, answer: bytes) -> None:
        """Look at the answer to the probe: is it still the same store in the same etcd? Raises StoreUnavailable."""
        found = etcd.RangeResponse.decode(answer)
        revision = self._revision(found.header)
        if self._base is None or revision < self._base:  # asked before somebody beside us wrote the origin
            return
        if found.kvs and found.kvs[0].create_revision == self._base:
            return
        raise StoreUnavailable(
            f"the cluster database below {self._text!r} was deleted or replaced in etcd while it was in use: restart"
            " this node, and restore a backup if the cluster's data are gone"
        )

    def _check_origin(self, found: etcd.KeyValue) -> int:
        try:
            schema = int(json.loads(found.value)["quorate_store"])
        except (ValueError, KeyError, TypeError):
            raise FaultError(
                Status.ERROR_NOT_REGISTRY_FILE,
                f"the key {self._text!r} in etcd was not written by Quorate: choose another prefix",
            ) from None
        if schema > SCHEMA:
            raise FaultError(
                Status.ERROR_CLUSTER_OLD_VERSION,
                f"the cluster database below {self._text!r} in etcd has schema {schema}, made by a newer Quorate; this"
                f" one knows schemas up to {SCHEMA}: upgrade it",
            )
        return found.create_revision

    # --- Watching --------------------------------------------------------------------------------------------------

    def watch_request(self, prefix: str, after: int) -> bytes:
        """The first message of a watch stream; call it when the origin is known.

        It asks from ``after`` on, not from the revision that follows: etcd refuses a start before its compaction, but
        not one right at it, where deletions may be missing. Whoever reads drops what is not after ``after``.
        """
        start, end = self._bounds(prefix)
        create = etcd.WatchCreateRequest(start, end, start_revision=self.base + after, fragment=True)
        return etcd.WatchRequest(create_request=create).encode()

    @property
    def base(self) -> int:
        """The revision of etcd that is the store's 0."""
        assert self._base is not None, "the origin is not known yet"
        return self._base

    def key(self, raw: bytes) -> str:
        """A key of the contract from etcd's."""
        return raw[len(self._prefix) :].decode("ascii", "backslashreplace")

    # --- Parts -----------------------------------------------------------------------------------------------------

    def _range(self, base: int, prefixes: Sequence[str], after: int) -> Script[Snapshot | None]:
        bounds = [self._bounds(prefix) for prefix in prefixes]
        asked = [self._page(start, end, base, after) for start, end in bounds]
        operations = tuple(etcd.RequestOp(request_range=request) for request in asked)
        if not operations:
            operations = (etcd.RequestOp(request_range=etcd.RangeRequest(self._prefix, count_only=True)),)
        answer = etcd.TxnResponse.decode((yield Call(Method.TXN, etcd.TxnRequest(success=operations).encode())))
        revision = self._revision(answer.header)
        records: dict[str, Record] = {}
        for (_, end), response in zip(bounds, answer.responses, strict=bool(bounds)):
            page = response.response_range
            while page is not None:
                records.update((record.key, record) for record in map(self._record, page.kvs))
                if not page.more:
                    break
                following = self._page(page.kvs[-1].key + b"\0", end, base, after, revision)
                raw = yield Call(Method.RANGE, following.encode(), may_be_compacted=True)
                if not raw:
                    return None
                page = etcd.RangeResponse.decode(raw)
        return Snapshot(revision - base, tuple(records[key] for key in sorted(records)))

    def _page(self, start: bytes, end: bytes, base: int, after: int, revision: int = 0) -> etcd.RangeRequest:
        lowest = base + after + 1 if after else 0
        return etcd.RangeRequest(start, end, limit=PAGE, revision=revision, min_mod_revision=lowest)

    def _bounds(self, prefix: str) -> tuple[bytes, bytes]:
        """All keys under a prefix of the contract, as etcd's half-open interval; never the origin."""
        return self._prefix + (prefix.encode() or b"\0"), self._prefix + prefix_end(prefix).encode()

    def _key(self, key: str) -> bytes:
        check_key(key)
        return self._prefix + key.encode()

    def _record(self, found: etcd.KeyValue) -> Record:
        return Record(self.key(found.key), found.value, found.mod_revision - self.base)

    def _compare(self, compare: Compare, base: int) -> etcd.Compare:
        revision = base + compare.revision if compare.revision else 0
        return etcd.Compare(target=etcd.CompareTarget.MOD, key=self._key(compare.key), mod_revision=revision)

    def _operation(self, write: Write) -> etcd.RequestOp:
        key = self._key(write.key)
        if isinstance(write, Put):
            return etcd.RequestOp(request_put=etcd.PutRequest(key, write.value))
        return etcd.RequestOp(request_delete_range=etcd.DeleteRangeRequest(key))

    def _revision(self, header: etcd.ResponseHeader | None) -> int:
        """etcd's revision in an answer. Raises StoreUnavailable when another etcd answers than before."""
        if header is None:
            raise StoreUnavailable("etcd answered without a header: is it an etcd that answers at this address?")
        if self._cluster_id is None:
            self._cluster_id = header.cluster_id
        if header.cluster_id != self._cluster_id:
            raise StoreUnavailable(
                f"another etcd cluster (id {header.cluster_id:x}) answers than before (id {self._cluster_id:x}): the"
                " endpoints must all belong to one; after a restore of etcd restart this node"
            )
        return header.revision
