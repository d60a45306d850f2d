"""`ref-proxy demo`: a serial line that is unplugged hundreds of times while six consumers read from it.

The same storm is run twice, with ref_proxy and without, and all that happens in either is counted. To be read in this order:

    record      what the instrument says: numbered, checksummed records, and the decoder that finds faults in them
    instrument  the other end of the line, a process of its own, behind a pseudo-terminal that it really hangs up
    line        the resource: a pyserial port, and how its readers are woken
    hub         where consumers wait for the next line
    ledger      the checker's book on one line, which trusts nobody
    consumer    those who read, through pyserial or as an event loop does
    bystander   the rest of the application: it takes the descriptor numbers that a closed line sets free
    remover     how a line is removed: by a Provider, or as it is done today
    manager     plugs in, hands out, removes, again and again
    storm       all of them together, for some seconds
    tally       what came of it, and which promises were broken
    show, plot  the same for people
"""
