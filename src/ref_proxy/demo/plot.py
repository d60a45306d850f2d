"""The timeline of one removal as a picture: who was inside, and when it was denied, interrupted, drained and released."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .ledger import Outcome
from .roster import having

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .album import Picture

__all__ = ["draw"]

COLOURS = {
    Outcome.READ: "#4c9f70",
    Outcome.INTERRUPTED: "#e09f3e",
    Outcome.CANCELLED: "#8e6c8a",
    Outcome.HUNG_UP: "#5b7db1",
    Outcome.FAILED: "#9b2226",
}
LABELS = {
    Outcome.READ: "inside",
    Outcome.INTERRUPTED: "interrupted",
    Outcome.CANCELLED: "cancelled",
    Outcome.HUNG_UP: "hung up",
}
REFUSED = "#9b2226"
INK = "#2b2d42"
BEFORE, AFTER = 0.8, 0.5  # how much is shown on either side of the removal, in times of its own length


def draw(picture: Picture, path: str) -> None:
    """Write it to `path`, in the format that the name ends in."""
    with mpl.rc_context({"font.family": "sans-serif", "font.size": 10, "text.color": INK, "axes.labelcolor": INK}):
        height = 2.2 + 0.5 * len(having(picture.spans))
        figure = Figure(figsize=(11, height), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        _draw_spans(axes, picture)
        _draw_marks(axes, picture)
        _dress(axes, picture)
        figure.savefig(path)


def _draw_spans(axes: Axes, picture: Picture) -> None:
    zero = picture.marks.called
    rows = {place.name: row for row, place in enumerate(having(picture.spans))}
    for span in chain(*picture.spans.values()):
        start, end = (span.start - zero) * 1000, (span.end - zero) * 1000
        if span.outcome is Outcome.REFUSED:
            axes.plot(end, rows[span.who], marker="x", color=REFUSED, markersize=7, markeredgewidth=2, zorder=4)
        else:
            colour = COLOURS[span.outcome]
            axes.barh(
                rows[span.who], end - start, left=start, height=0.5, color=colour, edgecolor="white", linewidth=0.8, zorder=2
            )


def _draw_marks(axes: Axes, picture: Picture) -> None:
    """A line for each step, and their names above, pushed apart where the lines are too close for them."""
    marks = picture.marks
    times = [(time - marks.called) * 1000 for time in marks]
    length = times[-1]
    left, right = -BEFORE * length, (1 + AFTER) * length
    axes.set_xlim(left, right)
    names = ("remove()", "denied", "interrupted", "drained", "released", "actions run")
    apart = (right - left) * 0.085
    places = [times[0] - apart]
    for time in times[1:]:
        places.append(max(time, places[-1] + apart))
    for name, time, place in zip(names, times, places, strict=True):
        axes.axvline(time, color=INK, linewidth=1.1, linestyle="-" if name != "remove()" else ":", zorder=3)
        axes.annotate(
            f"{name}\n{time:.3f} ms" if name != "remove()" else name,
            xy=(time, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(place, 1.06),
            textcoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "relpos": (0.5, 0), "color": INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0},
        )
    axes.axvspan(times[1], times[3], color="#e09f3e", alpha=0.10, zorder=0)
    axes.axvspan(times[3], right, color="#8d99ae", alpha=0.16, zorder=0)


def _dress(axes: Axes, picture: Picture) -> None:
    names = [place.name for place in having(picture.spans)]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(length=0, colors=INK)
    axes.grid(axis="x", color="#d9dce3", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("ms since remove() was called")
    title = f"One unplug: {picture.kind}, {picture.inside} consumers inside"
    axes.set_title(title, loc="left", pad=52, fontsize=13, fontweight="bold", color=INK)
    left = picture.marks.called + axes.get_xlim()[0] / 1000
    found = {span.outcome for span in chain(*picture.spans.values()) if span.end > left}
    handles: list[Patch | Line2D] = [Patch(color=COLOURS[each], label=label) for each, label in LABELS.items() if each in found]
    handles.append(Line2D([], [], color=REFUSED, marker="x", linestyle="none", markeredgewidth=2, label="access refused"))
    handles.append(Patch(color="#e09f3e", alpha=0.2, label="draining"))
    handles.append(Patch(color="#8d99ae", alpha=0.3, label="nobody inside: closed"))
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=len(handles), frameon=False, fontsize=9)
