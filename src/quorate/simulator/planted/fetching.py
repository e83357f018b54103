"""Faults of post-copy: who ends an image that has the only copy of a page, and who gives up what still has a source."""

from dataclasses import replace
from typing import Final

from quorate.clusapi.machine import Step
from quorate.migration import incoming_events as i
from quorate.migration import outgoing_events as e
from quorate.migration.incoming import Incoming
from quorate.migration.incoming import Outcome as IncomingOutcome
from quorate.migration.incoming import Phase as IncomingPhase
from quorate.migration.outgoing import TABLE, Outgoing, Phase
from quorate.simulator.planted.fault import Planted, cell, destination, source


def _end_at_the_mark(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
    step = cell(TABLE, Phase.TELLING, e.RecordSeen)(s, event, now)
    if step.state.phase not in (Phase.SERVING, Phase.RECONNECTING):
        return step
    return Step(replace(step.state, phase=Phase.ENDING_IMAGE, since=now), (e.EndImage(), e.WakeAfter(1.0)))


def _end_when_cut(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
    return Step(replace(s, phase=Phase.ENDING_IMAGE, since=now, reason="cut off"), (e.EndImage(), e.WakeAfter(1.0)))


def _give_up_when_cut(s: Incoming, event: object, now: float) -> Step[Incoming]:
    lost = replace(s, outcome=IncomingOutcome.IMAGE_LOST, over=True, reason="cut off", phase=IncomingPhase.ENDING)
    return Step(lost, (i.EndImage(), i.WakeAfter(1.0)))


FAULTS: Final = (
    Planted(
        "the image is ended at the mark",
        "I5",
        "The source of a post-copy ends its image when the record is marked, as after a pre-copy: pages are lost.",
        source({(Phase.TELLING, e.RecordSeen): _end_at_the_mark}),
    ),
    Planted(
        "the image is ended when the link is cut",
        "I5",
        "The source of a post-copy ends its image when the connection breaks, though the destination misses pages of "
        "it.",
        source({(Phase.SERVING, e.PagesStopped): _end_when_cut, (Phase.SERVING, e.Sampled): _end_when_cut}),
    ),
    Planted(
        "the guest is given up when the link is cut",
        "I5",
        "The destination of a post-copy starts its guest anew when the connection breaks, though its source lives.",
        destination(
            {
                (IncomingPhase.FETCHING, i.PagesStopped): _give_up_when_cut,
                (IncomingPhase.FETCHING, i.PagesPaused): _give_up_when_cut,
            }
        ),
    ),
)
