"""What it costs to show how far a run has come, and to keep its folder. ``python benchmarks/progress.py``.

Looking once a second costs less than what two runs of the same work differ by. So runs are looked at many times as often, in
pairs with runs that nobody looks at, and what that costs is divided by how many times as often it was.
"""

from __future__ import annotations

import statistics

from measuring import arguments, both, finish, progress, ratio, side, summary

UNITS = {"busy": 1.0, "nothing": 1.0, "line": 1e-6}
OFTEN = 50


def main() -> None:
    """Measure runs with and without, in turn."""
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="what tasks take on each rank (default: 2)")
    parser.add_argument("--pairs", type=int, default=30, help="pairs of such runs (default: 30)")
    chosen = parser.parse_args()
    num_nothing, num_lines = (100, 1000) if chosen.quick else (10_000, 20_000)
    if chosen.quick:
        chosen.seconds, chosen.pairs, chosen.repeats = 0.1, 2, 2
    progress(f"{chosen.ranks} ranks, {chosen.pairs} times {chosen.seconds} s with and without")
    found = side("observed.py", chosen.seconds, OFTEN, chosen.pairs, num_nothing, num_lines, chosen.repeats,
                 num_ranks=chosen.ranks, timeout=chosen.timeout)
    names = {"busy": f"tasks of 2 ms for {chosen.seconds:g} s, looked at {OFTEN} times as often: run [s]",
             "nothing": f"{num_nothing} tasks that do nothing: all [s]",
             "line": "a line that a task prints [us]"}
    rows, figures = [], {}
    for what, name in names.items():
        sides = {way: summary(samples) for way, samples in found[what].items()}
        figures[what] = {"seconds": sides, "on_over_off": ratio(sides["on"], sides["off"])}
        rows.append([name, *(sides[way]["median"] / UNITS[what] for way in ("off", "on")), both(figures[what]["on_over_off"])])
    pairs = [(on / off - 1) / OFTEN for on, off in zip(found["busy"]["on"], found["busy"]["off"], strict=True)]
    error = statistics.stdev(pairs) / len(pairs) ** 0.5
    figures["share"] = {"mean": statistics.mean(pairs), "standard_error": error, "all": pairs}
    finish(chosen, ["what", "unobserved", "observed", "observed / unobserved"], rows, figures)
    print(f"looked at as often as usual, progress costs {statistics.mean(pairs):.2%} (standard error {error:.2%})")


if __name__ == "__main__":
    main()
