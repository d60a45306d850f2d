"""`ref-proxy demo --processes 8`: a shared-memory segment that is replaced, overwritten and unlinked while workers read it.

Each worker is a process of its own. One is killed in the middle, one is stopped, one forks. The same storm is run twice, with
ref_proxy and without. To be read in this order:

    segment     the resource: pages that say which generation they are of, and prove that they are whole
    board       what all the processes write down, each in a row of its own
    ways        how a worker gets at the segment: with ref_proxy, and as it is done today
    worker      the process that reads; `forked`: its child, which inherits everything
    crew        the workers, as the one sees them who started them
    mishaps     what happens to them: killed, stopped, forked
    shelf       where the owner's segments come from and go to, and the checker's book on that
    owners      who replaces them, with ref_proxy and without
    storm       all of them together, for some seconds; then everybody is called home, and counted
    tally       what came of it, and which promises were broken
    show        the same for people
"""
