"""How memory is sent: over how many channels, encrypted or not, compressed or not, and why so.

Pure: what the cluster wants, what both ends can and what is known of the way between them come in as values. Each
choice comes with a sentence that says its reason; `quorate migrations` and the progress show them.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from quorate.clusapi.status import Status
from quorate.migration.rules import Finding

MOST_CHANNELS: Final = 8
"""Each is a thread on either side."""
FEW_CHANNELS: Final = 2
"""Two outrun one stream on two processors already: finding zero pages, copying, and the first touch of the
destination's memory overlap (274 ms instead of 475 ms for 700 MB through a socket)."""
PLAIN_CHANNEL: Final = 1.5e9
"""Bytes per second that one channel carries, by what was measured: copying out and in."""
ENCRYPTED_CHANNEL: Final = 0.4e9
"""The same over TLS: what its end takes longer for, which is the destination (1 s of a processor for 400 MB, by the
processor time of QEMU 10.0 with AES in hardware; the source 0.5 s)."""

CLEARLY_FASTER: Final = 1.5
"""Times the link's speed, from which on compressing is worth a processor: memory shrinks to a half, as a rule."""


BANDWIDTH_PROPERTY: Final = "MigrationBandwidthLimit"
"""Of the cluster and of a virtual machine: MiB/s that one migration takes, 0: no limit. The smallest of all holds."""
_MIB: Final = 1 << 20
LARGEST_FETCHED: Final = 2 << 20
"""Bytes of the largest page that may be fetched while a guest waits for it: a page crosses the link as a whole."""

OLD_VERSION: Final = "its version does not know it"
"""Why a node cannot do what it says nothing of."""


class Encryption(IntEnum):
    """The cluster's property MigrationEncryption. A socket within one machine is never encrypted: nobody is on it."""

    NEVER = 0
    WHERE_POSSIBLE = 1
    """Between machines, unless an end of the way is too old for it."""
    ALWAYS = 2
    """A move that could not be encrypted between machines is refused."""


class Compression(IntEnum):
    """The cluster's property MigrationCompression; only several channels compress."""

    NEVER = 0
    WHERE_FASTER = 1
    """Where the link was measured to carry less than idle processors compress."""
    ALWAYS = 2
    """Wherever both ends can."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the cluster wants of its migrations."""

    encryption: Encryption = Encryption.WHERE_POSSIBLE
    compression: Compression = Compression.WHERE_FASTER
    max_bandwidth: int = 0
    """Bytes per second for one migration; 0: as fast as it goes."""
    limited_by: str = ""
    """Whose limit that is, for people."""
    post_copy: bool = False
    """The cluster's property MigrationPostCopy: policies that allow post-copy may use it."""


@dataclass(frozen=True, slots=True)
class Way:
    """What is known of the way from here to a destination, and of both ends."""

    destination: str
    """Its name."""
    over_tcp: bool
    """False: by a socket of this machine."""
    address: str = ""
    """Where memory comes in there; empty: not known, it will say."""
    network: str = ""
    """The name of the network that this address is on, as far as it is known."""
    encrypts: bool = False
    """Both ends have certificates and know what to do with them."""
    processors: int = 1
    """Of the end that has fewer."""
    idle: float = 0.0
    """Processors that have nothing to do, of the end that has fewer."""
    compression: float | None = None
    """Bytes per second that one processor here compresses; None: not known, or not both ends can."""
    link: float | None = None
    """Bytes per second that got across when it was measured; None: it was not."""
    no_post_copy: str = ""
    """Why the destination cannot fetch pages one by one; empty: it can."""
    huge_page: int = 0
    """Bytes of each of the pages that the guest's memory is in; 0: they are ordinary ones."""


@dataclass(frozen=True, slots=True)
class Transport:
    """How one migration sends memory."""

    channels: int = 0
    """Besides the main one; 0: one stream for everything."""
    encrypted: bool = False
    compressed: bool = False
    """By zstd."""
    max_bandwidth: int = 0
    """Bytes per second; 0: no limit."""
    address: str = ""
    network: str = ""
    reasons: tuple[str, ...] = ()
    """A sentence for each choice."""

    def describe(self) -> str:
        """Say it in a few words."""
        words = ["1 stream" if not self.channels else f"{self.channels} channels"]
        if self.encrypted:
            words.append("TLS")
        if self.compressed:
            words.append("zstd")
        if self.max_bandwidth:
            words.append(f"at most {self.max_bandwidth / _MIB:g} MiB/s")
        if self.network:
            words.append(f"by {self.network}")
        return ", ".join(words)


def plan_transport(wishes: Wishes, way: Way, *, post_copy: bool = False) -> Transport:
    """Choose how to send memory; ``post_copy`` tells whether the rest may be sent after the guest has moved.

    Whether it may be sent at all is not decided here: `judge_encryption` refuses before.
    """
    encrypted, why_encrypted = _choose_encryption(wishes.encryption, way)
    channels, why_channels = _choose_channels(way, encrypted=encrypted, post_copy=post_copy)
    compressed, why_compressed = _choose_compression(wishes.compression, way, channels)
    reasons = [why_channels, why_encrypted, why_compressed]
    if wishes.max_bandwidth:
        reasons.append(f"at most {wishes.max_bandwidth / _MIB:g} MiB/s: {wishes.limited_by or BANDWIDTH_PROPERTY}")
    return Transport(channels, encrypted, compressed, wishes.max_bandwidth, way.address, way.network, tuple(reasons))


def smallest_limit(asked: int, own: int, of_cluster: int) -> tuple[int, str]:
    """Give the bandwidth limit that holds, in bytes per second, and whose it is; all come in MiB/s, 0 for none.

    The smallest holds: whoever sets one has a link to spare, and none of the others knows of it.
    """
    limits = (
        (asked, "this migration was asked for so"),
        (own, f"{BANDWIDTH_PROPERTY} of the virtual machine"),
        (of_cluster, f"{BANDWIDTH_PROPERTY} of the cluster"),
    )
    limit, whose = min((one for one in limits if one[0]), key=lambda one: one[0], default=(0, ""))
    return limit * _MIB, whose


def judge_encryption(wishes: Wishes, way: Way) -> Finding:
    """What shall be encrypted can be: 5035."""
    rule, name = "encryption", way.destination
    encrypted, why = _choose_encryption(wishes.encryption, way)
    if encrypted or not way.over_tcp or wishes.encryption is Encryption.NEVER:
        return Finding.ok(rule, "TLS" if encrypted else "none" if way.over_tcp else "a socket of this machine")
    remedy = f"upgrade Quorate on {name}, and give both nodes certificates"
    if wishes.encryption is Encryption.WHERE_POSSIBLE:
        return Finding.warns(rule, "none", f"memory would cross the network unencrypted: {why}", remedy)
    sentence = f"memory may only be sent encrypted, by MigrationEncryption 2, and {why}"
    status = Status.ERROR_NETWORK_NOT_AVAILABLE
    return Finding.refuses(rule, "none", status, sentence, f"{remedy}; or quorate cluster set MigrationEncryption=1")


def can_post_copy(wishes: Wishes, way: Way) -> bool:
    """Tell whether the cluster allows post-copy and both ends can do it. A policy that uses it costs the channels."""
    return wishes.post_copy and not _why_no_post_copy(way)


def _why_no_post_copy(way: Way) -> str:
    """Say why pages cannot be fetched one by one on this way; empty: they can."""
    if way.huge_page > LARGEST_FETCHED:
        return f"its memory is in pages of {way.huge_page >> 20} MiB, and it would stand still while each is fetched"
    return way.no_post_copy


def judge_post_copy(wishes: Wishes, way: Way) -> Finding:
    """Where post-copy may be used the destination can fetch pages one by one; without that a move may not converge."""
    rule = "post-copy"
    why = _why_no_post_copy(way)
    if not wishes.post_copy or not why:
        return Finding.ok(rule, "usable" if wishes.post_copy else "not allowed by MigrationPostCopy")
    sentence = f"a guest that outruns its link cannot be moved to {way.destination} by post-copy: {why}"
    remedy = f"{'upgrade Quorate' if why == OLD_VERSION else 'make userfaultfd usable'} on {way.destination}"
    if way.huge_page > LARGEST_FETCHED:
        remedy = f"turn it off, and start it with pages of {LARGEST_FETCHED >> 20} MiB or with ordinary ones"
    return Finding.warns(rule, "not usable", sentence, remedy)


def _choose_encryption(wanted: Encryption, way: Way) -> tuple[bool, str]:
    if not way.over_tcp:
        return False, "not encrypted: it goes through a socket of this machine"
    if wanted is Encryption.NEVER:
        return False, "not encrypted: MigrationEncryption is 0"
    if not way.encrypts:
        return False, f"not both this node and {way.destination} offer TLS for memory"
    return True, "encrypted: memory leaves the machine"


def _choose_channels(way: Way, *, encrypted: bool, post_copy: bool) -> tuple[int, str]:
    """Choose how many channels: as many as the link takes to be filled, and as there are processors to fill it."""
    if post_copy:
        return 0, "1 stream: post-copy and several channels exclude each other in QEMU"
    if way.processors < FEW_CHANNELS:
        return 0, "1 stream: an end of the way has one processor only"
    if way.link is None:
        return FEW_CHANNELS, f"{FEW_CHANNELS} channels: two overlap what one does by turns; the link was not measured"
    each = ENCRYPTED_CHANNEL if encrypted else PLAIN_CHANNEL
    wanted = -int(-way.link // each)
    channels = max(FEW_CHANNELS, min(wanted, way.processors, MOST_CHANNELS))
    measured = f"the link carries {way.link / 1e6:.0f} MB/s, a channel up to {each / 1e6:.0f} MB/s"
    return channels, f"{channels} channels: {measured}, and the end with fewer processors has {way.processors}"


def _choose_compression(wanted: Compression, way: Way, channels: int) -> tuple[bool, str]:
    """Choose by what was measured: compressing has to bring clearly more across than the link does as it is."""
    if wanted is Compression.NEVER:
        return False, "not compressed: MigrationCompression is 0"
    if not channels:
        return False, "not compressed: one stream cannot be"
    if way.compression is None:
        return False, "not compressed: not both ends can, or it is not known yet"
    if wanted is Compression.ALWAYS:
        return True, "compressed: MigrationCompression is 2"
    if not way.over_tcp:
        return False, "not compressed: there is no link"
    if way.link is None:
        return False, "not compressed: the link was not measured"
    if way.idle < 1:
        return False, "not compressed: no processor is idle at both ends"
    speed = way.compression * min(channels, int(way.idle))
    measured = f"the link carries {way.link / 1e6:.0f} MB/s, idle processors compress {speed / 1e6:.0f} MB/s"
    if speed < CLEARLY_FASTER * way.link:
        return False, f"not compressed: {measured}"
    return True, f"compressed: {measured}"
