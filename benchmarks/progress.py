"""What it costs to show how far a run has come, and to keep its folder. ``python benchmarks/progress.py``."""

from __future__ import annotations

from measuring import arguments, both, finish, progress, ratio, side, summary

UNITS = {"busy": 1.0, "nothing": 1.0, "line": 1e-6}


def main() -> None:
    """Measure runs with and without, in turn."""
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="what tasks take on each rank (default: 10)")
    chosen = parser.parse_args()
    num_nothing, num_lines = (100, 1000) if chosen.quick else (10_000, 20_000)
    if chosen.quick:
        chosen.seconds, chosen.repeats = 0.1, 2
    progress(f"{chosen.ranks} ranks, {chosen.repeats} times {chosen.seconds} s with and without")
    found = side("observed.py", chosen.seconds, num_nothing, num_lines, chosen.repeats, num_ranks=chosen.ranks,
                 timeout=chosen.timeout)
    names = {"busy": f"tasks of 2 ms for {chosen.seconds:g} s: run [s]",
             "nothing": f"{num_nothing} tasks that do nothing: all [s]",
             "line": "a line that a task prints [us]"}
    rows, figures = [], {}
    for what, name in names.items():
        sides = {way: summary(samples) for way, samples in found[what].items()}
        figures[what] = {"seconds": sides, "on_over_off": ratio(sides["on"], sides["off"])}
        rows.append([name, *(sides[way]["median"] / UNITS[what] for way in ("off", "on")), both(figures[what]["on_over_off"])])
    finish(chosen, ["what", "unobserved", "observed", "observed / unobserved"], rows, figures)


if __name__ == "__main__":
    main()
