"""What the matrix concludes from migrations, and its picture: the better raw way counts, one that was cut does not."""

from xml.etree import ElementTree

from bench import plot
from bench.comparison import Comparison, migration_table
from bench.guests import WORKLOADS
from bench.machine import Machine
from bench.measured import Migration

MACHINE = Machine("Linux", "x", 2, 1 << 34, "10.0", "tcg", 8e9, 1e9, 4e9, 2e9, 1e9, 0.0)
GUEST = next(one for one in WORKLOADS if one.name == "1G-300")


def migration(way: str, total: float, gap: float, *, number: int = 1, is_cut: bool = False) -> Migration:
    moments = {} if is_cut else {"listening": 0.1, "loaded": total - 0.1, "cont": total - 0.097}
    return Migration(
        GUEST.name, way, number, total, gap, gap, bytes_sent=800_000_000, passes=2, moments=moments, is_cut=is_cut
    )


def found(*ours: Migration) -> Comparison:
    cut = migration("raw defaults", 30.0, 0.002, is_cut=True)
    return Comparison((cut, migration("raw tuned", 1.0, 0.1), *ours))


def judged(comparison: Comparison) -> dict[str, bool]:
    return {verdict.sentence: verdict.is_met for verdict in comparison.verdicts(MACHINE)}


def test_what_was_cut_is_no_measure_for_ours() -> None:
    compared = found(migration("quorate", 0.7, 0.04))
    assert compared.better(GUEST, lambda cell: cell.gap) == 0.1
    assert compared.better(GUEST, lambda cell: cell.total) == 1.0
    assert "| cut at 30 s" in migration_table(compared, MACHINE)


def test_each_aim_is_judged_by_the_median_but_the_worst_gap() -> None:
    good = [migration("quorate", 0.7, 0.04, number=number) for number in (1, 2)]
    assert all(judged(found(*good)).values())
    worst = judged(found(*good, migration("quorate", 0.9, 0.15, number=3)))
    assert {sentence for sentence, is_met in worst.items() if not is_met} == {"no gap of quorate's longer than 100 ms"}
    slow = judged(found(migration("quorate", 0.9, 0.06)))
    assert {sentence for sentence, is_met in slow.items() if not is_met} == {
        "1G-300: gap at most 0.5 of raw's, or 20 ms",
        "1G-300: total at most 0.8 of raw's",
        "1G-300: data phase at least 80% of first touch and plain copy",
    }


def test_the_ownership_change_adds_what_comes_after_the_load() -> None:
    added = migration("quorate", 0.7, 0.04).ownership
    assert added is not None
    assert abs(added - 0.003) < 1e-9
    assert migration("raw defaults", 30.0, 0.1, is_cut=True).ownership is None


def test_the_picture_has_a_bar_for_each_way_in_each_chart() -> None:
    picture = ElementTree.fromstring(plot.draw(found(migration("quorate", 0.7, 0.04))))
    bars = [one for one in picture.iter("{http://www.w3.org/2000/svg}rect") if one.get("stroke-dasharray")]
    told = [one.text for one in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert len(bars) == 2  # the one that was cut, in both
    assert told[1:] == [
        "1G-300, raw tuned: 1000 ms, worst 1000 ms",
        "1G-300, quorate: 700 ms, worst 700 ms",
        "1G-300, raw tuned: 100 ms, worst 100 ms",
        "1G-300, quorate: 40 ms, worst 40 ms",
    ]
    assert plot.draw(Comparison(())) == ""
