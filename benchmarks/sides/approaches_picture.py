"""The picture of ``approaches.py``: time and the busiest link against the number of hosts and the size of the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chains import WORKFLOWS

STYLES = {"decentralized": ("tab:blue", "o", "-"), "centralized": ("tab:red", "s", "-"),
          "centralized, others work": ("tab:orange", "D", "--"), "conventional": ("tab:green", "^", "-")}


def draw(found: Mapping[Any, Mapping[str, Any]], usual: tuple[int, int], file: Path, title: str) -> None:
    """Draw one column for each workflow: time against hosts, the busiest link against hosts, time against size.

    Args:
        found: Setting (workflow, hosts, megabytes) to approach to figures.
        usual: Hosts and megabytes that stay the same while the other changes.
        file: Where the picture goes; its suffix says what kind of picture.
        title: Above all.
    """
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "mpiflow"         # the same figures make the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, len(WORKFLOWS), figsize=(10, 8.5), squeeze=False)
    panels = (("hosts", f"hosts, {usual[1]} MB each", "time [s]", lambda item: item["seconds"]["median"]),
              ("hosts", f"hosts, {usual[1]} MB each", "busiest link [MB]", lambda item: item["busiest_nbytes"] / 1e6),
              ("megabytes", f"MB each, {usual[0]} hosts", "time [s]", lambda item: item["seconds"]["median"]))
    for column, workflow in enumerate(WORKFLOWS):
        for row, (against, below, beside, value) in enumerate(panels):
            panel, fixed = axes[row][column], usual[1] if against == "hosts" else usual[0]
            other = "megabytes" if against == "hosts" else "hosts"
            chosen = sorted((getattr(setting, against), item) for setting, item in found.items()
                            if setting.workflow == workflow and getattr(setting, other) == fixed)
            for name, (color, marker, line) in STYLES.items():
                panel.plot([x for x, _ in chosen], [value(item[name]) for _, item in chosen], label=name, color=color,
                           marker=marker, linestyle=line, markersize=4)
            panel.set(xscale="log", yscale="log", xlabel=below, ylabel=beside if column == 0 else "",
                      title=workflow if row == 0 else "")
            panel.set_xticks([x for x, _ in chosen], [str(x) for x, _ in chosen])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(STYLES), frameon=False)
    figure.suptitle(f"Three approaches, links of {title}")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)
