"""The mechanism, explored: every schedule of a few threads, on a model of each twin and of the policy on top.

    python -m tests.model                       everything; exit status 0: each configuration holds, each fault is found
    python -m tests.model read/c/free           some configurations, by their names
    python -m tests.model "there is no bias"    some seeded faults, each with its shortest failing schedule, step by step
    python -m tests.model --table               the tables of docs/algorithm.md

How to read it, in this order:

    explore.py           the explorer: what a step is, what a schedule is, the two regimes, with the GIL and without
    properties.py        what must hold
    python_twin.py       `_core_py.py`, step by step, with its tags
    c_twin.py            `_core.c`, likewise: stripes, counts, memory
    bell.py, policy.py   `waiting.py` and `provider.py`
    programs.py          what readers and removers do
    configurations.py    which threads meet on which cell
    faults.py            what is broken on purpose, and which property has to notice

A program is the code with everything left out that no other thread can see. A step carries the tag of the line that it stands
for; `tests/meta/test_tags.py` keeps both in step. To add a configuration, add a `Scene`. To add a fault, ask for its name at one
step, with `self.broken(...)`, and add a `Fault`. Then put the new tables into docs/algorithm.md.
"""
