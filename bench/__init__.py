"""The benchmark: live migrations by raw QMP and by quorate, interleaved; run it with ``make bench``."""
