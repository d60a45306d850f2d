"""Resources that vanish, in one line each: files, sockets, serial ports, buffers.

Each adapter is a module of its own, and loads the library that it adapts only when it is used. They have one shape:
`provide(...)` makes the `Provider`, with the interrupt and the release that this kind of resource needs, and `open(proxy)`, or
`array(proxy)`, is what a consumer uses.
"""
