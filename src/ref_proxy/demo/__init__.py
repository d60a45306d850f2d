"""`ref-proxy demo`: an instrument that is unplugged hundreds of times while nine consumers use its three serial lines.

The same storm is run twice, with ref_proxy and without, and all that happens in either is counted. To be read in this order:

    record      what the instrument says: numbered, checksummed records, and the decoder that finds faults in them
    instrument  the other end of the lines, a process of its own; `outlet`: a pseudo-terminal that it really hangs up
    line        a resource: a pyserial port for several readers, and how these are woken
    ports       other ones: for tasks, and for old code
    ledger      the checker's book on one line, which trusts nobody; `visit`: what it writes down there of each access
    plug        all the lines of one device
    hub         where consumers wait for the next plug
    consumer    those who read in threads, through pyserial or with `select`
    coroutines  those who are tasks of asyncio
    veteran     old code: it uses what it takes for a pyserial port
    roster      who is there, and how each is let in to its line
    bystander   the rest of the application: it takes the descriptor numbers that a closed line sets free
    actions     what is to be undone when the device is gone
    remover     how the lines are removed as it is done today; `protected`: by a `Device`
    manager     plugs in, hands out, removes, again and again
    storm       all of them together, for some seconds
    tally       what came of it, and which promises were broken
    show, plot  the same for people; `console`: what this shares with the following

`processes`, with `ref-proxy demo --processes 8`, is another one: a segment of memory that processes share.
"""
