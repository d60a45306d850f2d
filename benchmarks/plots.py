"""Draws what was measured, as SVG: one access against the peers, what threads gain, and how a removal grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.runs import Run

__all__ = ["PLOTS", "Plot", "draw"]

# Of Okabe and Ito's palette, which the colour-blind can tell apart; with a marker each, so that no colour is needed at all.
BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#777777"
STYLE = {
    "svg.hashsalt": "ref_proxy",  # the same data make the same file
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "figure.facecolor": "white",
    "figure.titlesize": 12,
}


class Plot(NamedTuple):
    """A picture: what there is to be drawn of each run, what it says, and how it is drawn."""

    name: str
    data: Callable[[Sequence[Run]], dict[str, Any]]
    title: Callable[[Sequence[Run]], str]
    paint: Callable[[Any, Sequence[Run]], None]


def span(values: Sequence[float], digits: int = 2) -> str:
    """What they are, from the least to the most."""
    least, most = (f"{value:,.{digits}f}" for value in (min(values), max(values)))
    return least if least == most else f"{least} to {most}"


# ---- One access ----

OURS, LIMIT, LOCK = "`with proxy.access()`", "a do-nothing context manager", "`threading.Lock`"


def accesses(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Nanoseconds of each means, by run."""
    found = {run.title: {row.what: row.median for row in run.curve("one access") if row.median is not None} for run in runs}
    return {title: bars for title, bars in found.items() if bars}


def access_title(runs: Sequence[Run]) -> str:
    bars = list(accesses(runs).values())
    of_lock = span([100 * each[OURS] / each[LOCK] for each in bars], 0)
    return f"One access takes {span([each[OURS] for each in bars], 0)} ns, {of_lock} % of `with threading.Lock()`"


def paint_access(figure: Any, runs: Sequence[Run]) -> None:
    data = accesses(runs)
    most = {name: max(each.get(name, 0) for each in data.values()) for bars in data.values() for name in bars}
    names = sorted(most, key=lambda name: -most[name])
    panels = figure.subplots(1, len(data), sharey=True, squeeze=False)[0]
    for axes, (title, bars) in zip(panels, data.items(), strict=True):
        for y, name in enumerate(names):
            if name not in bars:
                axes.text(11, y, "left out", va="center", color=GREY)
                continue
            axes.barh(y, bars[name], color=BLUE if name == OURS else GREEN if name == LIMIT else ORANGE)
            axes.text(bars[name] * 1.1, y, f"{bars[name]:,.0f}", va="center")
        axes.set_xscale("log")
        axes.set_xlim(10, 10 * max(most.values()))
        axes.set_yticks(range(len(names)), [name.replace("`", "") for name in names])
        axes.set_title(f"Python {title}")
        axes.set_xlabel("ns, logarithmic")


# ---- Threads ----

LINES = {
    "a proxy each": (BLUE, "o", "-"),
    "one shared proxy": (SKY, "s", "-"),
    "a do-nothing context manager each": (GREEN, "^", "--"),
    "one shared do-nothing context manager": (GREY, "v", "--"),
    "`threading.Lock`": (ORANGE, "D", ":"),
    "`ft_utils`, `RWReadContext` of a `RWLock`": (PINK, "P", ":"),
    "`readerwriterlock`, `gen_rlock()` of a `RWLockRead`": (RED, "X", ":"),
}


def threads(runs: Sequence[Run]) -> dict[str, Run]:
    return {run.title: run for run in runs if len(run.curve("a proxy each")) > 1}


def threads_title(runs: Sequence[Run]) -> str:
    gains: dict[bool, list[float]] = {True: [], False: []}
    most = 0.0
    for run in threads(runs).values():
        first, *_, last = run.curve("a proxy each")
        gains[run.gil].append((last.median or 0) / (first.median or 1))
        most = max(most, last.x)
    said = [f"{span(each)} times {how}" for how, each in (("with the GIL", gains[True]), ("without it", gains[False])) if each]
    return f"Accesses a second by {most:.0f} threads with a proxy each, against those by one: {', '.join(said)}"


def paint_threads(figure: Any, runs: Sequence[Run]) -> None:
    data = threads(runs)
    panels = figure.subplots(1, len(data), sharey=True, squeeze=False)[0]
    for axes, (title, run) in zip(panels, data.items(), strict=True):
        for name, (colour, marker, style) in LINES.items():
            points = run.curve(name)
            if points:
                label = name.replace("`", "")
                axes.plot(*zip(*((p.x, p.median) for p in points), strict=True), style, color=colour, marker=marker, label=label)
        axes.set_title(f"Python {title}")
        axes.set_xlabel("threads")
        axes.set_xticks([point.x for point in run.curve("a proxy each")])
        axes.grid(axis="y", color="#dddddd")
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("millions of accesses a second, all threads")
    legend(figure, panels)


# ---- Growth ----

GROWTH = {
    "idle proxies": (BLUE, "o", "idle proxies, nobody inside"),
    "threads that were inside": (GREEN, "^", "threads that have been inside, nobody inside now"),
    "open sections, all ends included": (ORANGE, "s", "open sections, until all have ended"),
    "providers of a device, idle": (PINK, "D", "providers of one device, nobody inside"),
    "providers of a device, a section open in each, all ends included": (RED, "v", "the same, a section open in each"),
}


def growth(runs: Sequence[Run]) -> dict[str, Run]:
    return {run.title: run for run in runs if len(run.curve("idle proxies")) > 1}


def growth_title(runs: Sequence[Run]) -> str:
    said = []
    for name, what in (("idle proxies", "idle proxies"), ("open sections, all ends included", "open sections")):
        grown, least, most = [], 0.0, 0.0
        for run in growth(runs).values():
            first, *_, last = [point for point in run.curve(name) if point.x >= 10]
            grown.append((last.median or 0) / (first.median or 1))
            least, most = first.x, last.x
        said.append(f"{span(grown, 0 if min(grown) > 100 else 1)} times as long with {most:,.0f} {what} as with {least:,.0f}")
    return "A removal takes " + ",\n".join(said)


def paint_growth(figure: Any, runs: Sequence[Run]) -> None:
    data = growth(runs)
    panels = figure.subplots(1, len(data), sharey=True, squeeze=False)[0]
    for axes, (title, run) in zip(panels, data.items(), strict=True):
        for name, (colour, marker, label) in GROWTH.items():
            points = run.curve(name)
            if points:
                axes.plot(*zip(*((p.x, p.median) for p in points), strict=True), "-", color=colour, marker=marker, label=label)
        xs = [10, 1_000_000]
        axes.plot(xs, [x / 10 for x in xs], "--", color=GREY, linewidth=1, label="in proportion, 0.1 microseconds each")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(color="#dddddd")
        axes.set_title(f"Python {title}")
        axes.set_xlabel("how many")
    panels[0].set_ylabel("microseconds for one removal")
    legend(figure, panels)


def legend(figure: Any, panels: Sequence[Any]) -> None:
    """One for all panels, below them."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=2, frameon=False)


PLOTS = (
    Plot("access", accesses, access_title, paint_access),
    Plot("threads", threads, threads_title, paint_threads),
    Plot("growth", growth, growth_title, paint_growth),
)


def draw(runs: Sequence[Run], folder: Path) -> None:
    """Write a file for each plot that there are data for; the same bytes for the same data and the same matplotlib."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        for plot in PLOTS:
            data = plot.data(runs)
            if data:
                figure = Figure(figsize=(max(8.0, 1.5 + 3.4 * len(data)), 5), layout="constrained")
                figure.suptitle(plot.title(runs).replace("`", ""), wrap=True)
                plot.paint(figure, runs)
                figure.savefig(folder / f"{plot.name}.svg", metadata={"Date": None, "Creator": None})
