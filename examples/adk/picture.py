"""The picture of the adenylate kinase example: one page, drawn by matplotlib without a display."""

import io
from itertools import cycle

import numpy as np

from mpiflow import operation

# Colours of Okabe and Ito, told apart with any colour vision.
BLUE, GREY, LIGHT_GREY = "#0072B2", "#4D4D4D", "#BBBBBB"
DOMAINS = ("#E69F00", "#56B4E9", "#CC79A7")
STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.xmargin": 0.02,
    "lines.linewidth": 1.5,
    "savefig.facecolor": "white",
}
TIME = {"cmap": "viridis", "s": 20, "linewidth": 0, "zorder": 2}


@operation(seconds=1.5, nbytes=250_000)
def picture(time, gyration, residues, rmsf, contacts, projection, variance, cumulated_variance, cutoff, domains):
    """Draw what the example finds on one page.

    Args:
        time: float64 (frames,) [ps].
        gyration: float64 (frames,) [angstrom].
        residues: int64 (residues,), their numbers in the sequence.
        rmsf: float64 (residues,) [angstrom].
        contacts: float64 (residues, residues), fraction of the frames.
        projection: float64 (frames, components) [angstrom].
        variance: float64 (components,) [angstrom^2].
        cumulated_variance: float64 (components,), fraction.
        cutoff: Distance [angstrom] below which a pair was counted as a contact.
        domains: Name to first and last residue of the domains that move.

    Returns:
        uint8 (bytes,), a PNG file; the same input gives the same bytes with the same matplotlib.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        # Whatever matplotlibrc the user has: the picture is the same for everyone.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(10.5, 7.6), dpi=160, layout="constrained")
        axes = figure.subplot_mosaic("ac;bc;de", width_ratios=[1, 1.2], height_ratios=[1, 1, 1.1])
        draw_gyration(axes["a"], time, gyration)
        draw_rmsf(axes["b"], residues, rmsf, domains)
        draw_contacts(axes["c"], residues, contacts, cutoff, domains)
        draw_projection(axes["d"], time, projection, variance, cumulated_variance)
        draw_variance(axes["e"], variance, cumulated_variance)
        for letter, panel in axes.items():
            panel.set_title(rf"$\mathbf{{{letter}}}$   {panel.get_title(loc='left')}")
        return png(figure)


def draw_gyration(axes, time, gyration):
    """Draw how wide the protein is at each time."""
    axes.plot(time, gyration, color=LIGHT_GREY, zorder=1)
    axes.scatter(time, gyration, c=time, **TIME)
    axes.set(title="Radius of gyration", xlabel="time (ps)", ylabel="$R_g$ (Å)")


def draw_rmsf(axes, residues, rmsf, domains):
    """Draw how far each residue moves, with the domains that do."""
    axes.plot(residues, rmsf, color=BLUE)
    axes.set(title="Fluctuation about the mean structure", xlabel="residue", ylabel=r"C$_\alpha$ RMSF (Å)")
    axes.set_ylim(0, 1.15 * rmsf.max())
    for (name, (first, last)), colour in zip(domains.items(), cycle(DOMAINS)):
        axes.axvspan(first - 0.5, last + 0.5, color=colour, alpha=0.3, linewidth=0)
        axes.text((first + last) / 2, 0.97, name, transform=axes.get_xaxis_transform(), ha="center", va="top")


def draw_contacts(axes, residues, contacts, cutoff, domains):
    """Draw the fraction of frames in which residues touch, the domains along both sides."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    for (name, (first, last)), colour in zip(domains.items(), cycle(DOMAINS)):
        for span in (axes.axvspan, axes.axhspan):
            span(first - 0.5, last + 0.5, color=colour, alpha=0.18, linewidth=0)
        axes.text((first + last) / 2, 0.985, name, transform=axes.get_xaxis_transform(), ha="center", va="top")
    row, column = np.nonzero(contacts)
    # The lightest quarter of the colours cannot be seen on white.
    colours = ListedColormap(colormaps["magma_r"](np.linspace(0.25, 1, 256)))
    frequency = {"c": contacts[row, column], "cmap": colours, "vmin": 0, "vmax": 1}
    points = axes.scatter(residues[column], residues[row], s=3.2, marker="s", linewidth=0, **frequency)
    axes.figure.colorbar(points, ax=axes, label="fraction of frames", shrink=0.7, aspect=30, pad=0.02)
    limits = (residues[0] - 2, residues[-1] + 2)
    axes.set(title=rf"C$_\alpha$ pairs within {cutoff:g} Å", xlabel="residue", ylabel="residue")
    axes.set(aspect="equal", xlim=limits, ylim=limits)


def draw_projection(axes, time, projection, variance, cumulated_variance):
    """Draw the way of the protein in the plane of the two widest components."""
    share = variance[:2] * cumulated_variance[0] / variance[0]
    axes.plot(projection[:, 0], projection[:, 1], color=LIGHT_GREY, zorder=1)
    points = axes.scatter(projection[:, 0], projection[:, 1], c=time, **TIME)
    axes.figure.colorbar(points, ax=axes, label="time (ps)", aspect=30)
    axes.set(title="Path along two principal components")
    axes.set(xlabel=f"PC 1 (Å), {share[0]:.1%} of variance", ylabel=f"PC 2 (Å), {share[1]:.1%}")
    for end, word in ((0, "first frame"), (-1, "last frame")):
        axes.annotate(word, projection[end, :2], (0, -9), textcoords="offset points", ha="center", va="top")
    axes.margins(0.16, 0.22)


def draw_variance(axes, variance, cumulated_variance):
    """Draw how much of the motion each component carries, and all up to it."""
    number = np.arange(1, len(variance) + 1)
    axes.plot(number, variance, "o-", color=BLUE, markersize=5)
    for point, share in zip(zip(number, variance, strict=True), cumulated_variance, strict=True):
        axes.annotate(f"{share:.1%}", point, (4, 5), textcoords="offset points", fontsize=8, color=GREY)
    axes.set(title="Variance, with the share up to each component", xlabel="component")
    axes.set(ylabel="variance (Å$^2$)", yscale="log")
    axes.set_xticks(number)
    axes.margins(0.08, 0.12)


def png(figure):
    """Give the PNG file of a figure as uint8 (bytes,)."""
    buffer = io.BytesIO()
    # Without the version of matplotlib that made it.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return np.frombuffer(buffer.getvalue(), np.uint8)
