"""A storm between processes: one name is removed again and again, while those who hold it are killed, stopped and forked.

    python -m tests.remote.storm --removals 1000 [--seed N] [--broken FAULT] [ADDRESS]

The one rule: nobody may be inside what has been released, but for holders that the removal has named. `conductor` makes the
weather and judges; `owner` announces and removes; `worker` attaches, uses what it got as fast as it can, and looks at it; `doom`
ends or stops a process at a certain line of `ref_proxy.remote`; `page` is the resource, which shows whether it was released;
`board` is where all say what they do; `remains` and `places` know what must not be left, in a process and at an address;
`faults` are those that it has to notice.
"""
