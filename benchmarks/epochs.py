"""What an epoch of the catalog costs, against a raw Iallgather of as many bytes. ``python benchmarks/epochs.py``."""

from __future__ import annotations

from typing import Any

from measuring import MICRO, arguments, both, finish, progress, ratio, side, summary

DELTAS = {"nothing new": 30, "10 tasks": 400, "100 tasks": 3600}      # what a rank says in one epoch [bytes], roughly
RANKS = (2, 4, 8, 16, 32, 64)
PERIOD = 0.1        # seconds between epochs while tasks run


def main() -> None:
    """Measure every delta on every number of ranks."""
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS)
    parser.add_argument("--exchanges", type=int, default=50, help="exchanges in one measurement")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.ranks, chosen.exchanges, chosen.repeats = [2, 4], 5, 2
    rows: list[list[object]] = []
    found = [measure(chosen, num_ranks, what, rows) for num_ranks in chosen.ranks for what in DELTAS]
    header = ["ranks, each says", "bytes", "raw [us]", "epoch [us]", "epoch / raw", f"share of {PERIOD} s"]
    finish(chosen, header, rows, found)


def measure(chosen, num_ranks: int, what: str, rows: list[list[object]]) -> dict[str, Any]:
    """Measure one delta on one number of ranks."""
    progress(f"{num_ranks} ranks, {what}")
    nbytes = DELTAS[what]
    found = side("exchange.py", nbytes, chosen.exchanges, chosen.repeats, num_ranks=num_ranks, timeout=chosen.timeout)
    seconds = {name: summary(samples) for name, samples in found.items()}
    against = ratio(seconds["mpiflow"], seconds["raw"])
    raw, ours = (seconds[name]["median"] for name in ("raw", "mpiflow"))
    rows.append([f"{num_ranks}, {what}", nbytes, raw * MICRO, ours * MICRO, both(against), f"{ours / PERIOD:.2%}"])
    return {"ranks": num_ranks, "delta": what, "nbytes": nbytes, "seconds": seconds, "mpiflow_over_raw": against}


if __name__ == "__main__":
    main()
