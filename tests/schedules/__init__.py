"""The policy itself, explored: `waiting.py`, `provider.py`, `srcu.py` and `device.py` in every schedule of a few threads.

    pytest tests/schedules -rP                          each scene holds, each seeded fault is found: in how many schedules
    PREEMPTIONS=3 pytest tests/schedules -o timeout=0   further: many minutes

`tests/model` explores a model, in all schedules. Here the very code runs, in real threads, of which a scheduler lets one go on at
a time (interleave-test; docs/adr/0009 says why that one). It may switch before each line of the policy that touches what threads
share; the mechanism below, of either twin, is one step. A switch away from a thread that could go on is a *preemption*. Every
schedule with so many at most is taken: two with the Python twin, one with the C twin and in large scenes. Who goes on when a
thread waits or ends is no preemption: that is tried in every way. It runs from 3.12 on, and in the suite with the GIL: without it
the same is to be seen, slowly.

What it cannot see: a switch between two steps of one line; what needs more preemptions, or more threads; weak memory. And a scene
must do the same each time: what the last schedule left behind is collected before the next.

How to read it: `scheduler.py` says what a step is and what time is, `scenes.py` who meets whom and what must hold, `faults.py`
what is broken on purpose. To add a scene, write a function there; to add a fault, name the words and the scene that finds it.
"""
