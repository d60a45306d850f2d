"""python-can 1865: a device vanishes, and the coroutine that waits for its messages waits for good.

https://github.com/hardbyte/python-can/issues/1865

A notifier reads from the bus in a callback of the event loop, and puts what arrives into a queue; the consumer awaits the queue.
When the interface goes down or is unplugged, the callback raises. The loop logs that; the consumer hears nothing, and nobody is
left who could ever put anything into its queue.
"""

from __future__ import annotations

import asyncio
import socket

import pytest

from ref_proxy import Provider, Revoked, aio

from .museum import ROUNDS, Bare, note, run


def scene(own):
    asyncio.run(unplug(own))


async def unplug(own):
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)  # where the default one logs
    bus, device = socket.socketpair()
    messages = asyncio.Queue()
    owner = own(bus, release=socket.socket.close)
    proxy = owner.proxy()

    def on_message_available():
        message = bus.recv(100)
        if not message:
            loop.remove_reader(bus)
            unplugged.set()
            raise ConnectionResetError("the device is gone")
        messages.put_nowait(message)

    async def consume():
        try:
            async with proxy.access() if own is Bare else aio.cancelling(proxy):
                while await messages.get() == b"in time":
                    note("done")
                    heard.set()
        except Revoked:
            note("refused")

    unplugged, heard = asyncio.Event(), asyncio.Event()
    loop.add_reader(bus, on_message_available)
    consumer = asyncio.create_task(consume())
    device.send(b"in time")
    await heard.wait()
    device.close()
    await unplugged.wait()
    await asyncio.to_thread(owner.revoke)
    for _ in range(1000):  # turns of the loop
        await asyncio.sleep(0)
    if not consumer.done():
        note("waits-on")
        consumer.cancel()
    await asyncio.wait([consumer])


@pytest.mark.once
def test_without_it_the_coroutine_waits_on():
    ending = run(scene, Bare)
    assert ending.how == "exit 0", ending.changed
    assert ending.told == {"done": ROUNDS, "waits-on": ROUNDS}, ending.changed


def test_with_it_the_coroutine_is_told():
    run(scene, Provider).assert_good()
