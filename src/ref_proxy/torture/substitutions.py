"""The C twin, broken on purpose: its source with a few words changed, compiled to be loaded in the place of the right one."""

from __future__ import annotations

import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import NamedTuple

__all__ = ["SOURCE", "SUBSTITUTIONS", "Substitution", "Unfit", "build"]

SOURCE = Path(__file__).parents[1] / "_core.c"


class Unfit(Exception):
    """A fault that cannot be tried here, and why."""


class Substitution(NamedTuple):
    """Words of the source and what takes their place. `free_threaded`: with the GIL it makes no difference."""

    what: str
    free_threaded: bool
    pairs: tuple[tuple[str, str], ...]


_SCAN = """    FOR_EACH_STRIPE(cell, stripe) {
        lock(&stripe->lock);
        if (stripe->turned != fresh)
            turn(stripe, fresh); /* [SCAN] */
        unlock(&stripe->lock);
    }
"""
_PUBLISH = "    store(&cell->current, fresh); /* [PUBLISH] before any [SCAN]: (1) */\n"
_UNBIAS = "    bool empty = drop_is_last(&old->left); /* [UNBIAS]: (3) */\n"
_LOAD = "    Publication *publication = load(&cell->current); /* [LOAD], under the stripe's lock: (1) */\n"

SUBSTITUTIONS: dict[str, Substitution] = {
    "no-stripe-lock": Substitution(
        "stripes are not locked (S1)",
        True,
        (
            (
                "    if (unlikely(!try_lock(lock)))\n        lock_slowly(lock);\n",
                "    if (lock == NULL)\n        lock_slowly(lock);\n",
            ),
        ),
    ),
    "scan-before-publish": Substitution(
        "the stripes are turned before the new publication is stored (S3)", True, ((_PUBLISH + _SCAN, _SCAN + _PUBLISH),)
    ),
    "no-bias": Substitution(
        "the count of a retired publication starts at zero, and may reach that while stripes are turned (S3)",
        True,
        (
            ("store(&publication->left, 1);", "store(&publication->left, 0);"),
            (_UNBIAS, "    bool empty = load(&old->left) == 0;\n"),
        ),
    ),
    "bias-early": Substitution(
        "the bias is taken off before the stripes are turned (S3)", True, ((_SCAN + _UNBIAS, _UNBIAS + _SCAN),)
    ),
    "stripe-left-out": Substitution(
        "a removal passes the first stripe by (S3)",
        False,
        (("        if (stripe->turned != fresh)\n", "        if (stripe != &cell->one && stripe->turned != fresh)\n"),),
    ),
    "no-wake": Substitution(
        "the last one out wakes nobody (S3)",
        False,
        (("    publication_free(publication);\n    wake(cell);\n", "    publication_free(publication);\n"),),
    ),
    "load-before-lock": Substitution(
        "an access loads what is published before it has locked its stripe (S2, S3)",
        True,
        (
            (
                "record_join(Record *record, Cell *cell, Stripe *stripe) {\n" + _LOAD,
                "record_join(Record *record, Publication *publication, Stripe *stripe) {\n",
            ),
            (
                "    lock(&stripe->lock);\n    Section *section = spares_take",
                "    Publication *early = load(&cell->current);\n    lock(&stripe->lock);\n    Section *section = spares_take",
            ),
            ("record_join(&section->record, cell, stripe)", "record_join(&section->record, early, stripe)"),
            ("record_join(record, cell, stripe)", "record_join(record, load(&cell->current), stripe)"),
        ),
    ),
    "stripe-not-turned": Substitution(
        "an access does not turn its stripe to the publication that it joins (S3)",
        True,
        (("    if (unlikely(stripe->turned != publication))\n        turn(stripe, publication); /* (2) */\n", ""),),
    ),
    "unlink-twice": Substitution(
        "a section that is ended twice is unlinked twice (S1)",
        False,
        (
            (
                (
                    "    if (unlikely(publication == NULL)) {\n        unlock(&stripe->lock);\n        return false;\n    }\n"
                    "    if (section == NULL &&"
                ),
                "    if (section == NULL &&",
            ),
        ),
    ),
    "older-forgotten": Substitution(
        "a publication counts as drained once it is retired (S3)",
        False,
        (
            (
                "p != NULL && drained; p = p->newer)\n        drained =",
                "p != NULL && drained && first > last; p = p->newer)\n        drained =",
            ),
        ),
    ),
    "dropped-stays": Substitution(
        "a section that is dropped stays open (S18)",
        False,
        (
            (
                "    if (unlikely(load(&self->record.publication) != NULL))\n        section_drop(self);\n    Py_XDECREF(",
                "    Py_XDECREF(",
            ),
        ),
    ),
    "fork-keeps-sections": Substitution(
        "a forked child keeps the sections of threads that it does not have (S14)",
        False,
        (
            (
                "            if (r->thread == here)\n                continue;\n",
                "            if (r->thread == here || r->thread != here)\n                continue;\n",
            ),
        ),
    ),
}


def build(name: str, folder: Path) -> Path:
    """Compile the twin with this fault into the folder. Raises: `Unfit` where that cannot be done."""
    if not SOURCE.exists():
        raise Unfit(f"there is no {SOURCE.name} to be changed: faults of the C twin need a checkout")
    source = SOURCE.read_text(encoding="utf-8")
    for words, others in SUBSTITUTIONS[name].pairs:
        if source.count(words) != 1:
            raise LookupError(f"{name}: {SOURCE.name} has these words {source.count(words)} times, not once:\n{words}")
        source = source.replace(words, others)
    changed, built = folder / SOURCE.name, folder / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    changed.write_text(source, encoding="utf-8")
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    flags = ["-shared", "-fPIC", "-std=c11", "-O2", f"-I{sysconfig.get_path('include')}", f"-I{SOURCE.parent}"]
    try:
        done = subprocess.run([*compiler, *flags, str(changed), "-o", str(built)], capture_output=True, text=True, check=False)
    except OSError as error:
        raise Unfit(f"there is no C compiler: {error}") from error
    if done.returncode:
        raise LookupError(f"{name}: {SOURCE.name} does not compile with this change:\n{done.stderr}")
    return built
