"""What users write. It must type-check; it is never run."""

from __future__ import annotations

import io
import socket
from mmap import mmap
from typing import assert_type

from ref_proxy import (
    BACKEND,
    Blocker,
    Device,
    Provider,
    Proxy,
    Revocation,
    Revoked,
    RevokeTimeout,
    Section,
    aio,
    dump,
    guarded,
    remote,
)
from ref_proxy.adapters import buffers, files, sockets
from ref_proxy.srcu import Domain


class Port:
    def cancel_read(self) -> None: ...

    def close(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:
        return len(data)


class FastPort(Port):
    pass


def owner(port: Port) -> None:
    provider = Provider(port, interrupt=Port.cancel_read, release=Port.close, name="ttyUSB0")
    assert_type(provider, Provider[Port])
    assert_type(provider.proxy(), Proxy[Port])
    assert_type(provider.proxy("reader"), Proxy[Port])
    assert_type(provider.replace(FastPort(), timeout=1), Port)
    assert_type(provider.revoke(timeout=0.5), bool)
    assert_type(provider.blockers(), list[Blocker])
    assert_type(
        [(blocker.proxy, blocker.ident, blocker.waiting) for blocker in provider.blockers()],
        list[tuple[str | None, int, float | None]],
    )
    assert_type(provider.name, str)
    removal = provider.revoke_soon()
    assert_type(removal, Revocation[Port])
    assert_type(removal.wait(5), bool)
    assert_type(removal.done, bool)
    with Provider(io.BytesIO()) as other:
        assert_type(other, Provider[io.BytesIO])
        assert_type(other.replace(io.BytesIO()), io.BytesIO)


def consumer(proxy: Proxy[Port]) -> int:
    with proxy.access() as port:
        assert_type(port, Port)
        port.write(b"ping")
    with proxy.try_access() as maybe:
        assert_type(maybe, Port | None)
        if maybe is not None:
            return maybe.write(b"ping")
    assert_type(proxy.revoked, bool)
    assert_type(proxy.name, str | None)
    return 0


def by_hand(proxy: Proxy[Port]) -> None:
    section = proxy.access()
    assert_type(section, Section[Port])
    assert_type(section.resource, Port)
    section.detach()
    section.end()
    assert_type(proxy.try_access(), Section[Port | None])


def unchanged(port: Port) -> int:
    return port.write(b"ping")


def existing_code(proxy: Proxy[FastPort], streams: Provider[io.BytesIO]) -> int:
    port = guarded(proxy)
    assert_type(port, FastPort)
    port.close()
    with guarded(streams.proxy()) as stream:
        assert_type(stream, io.BytesIO)
        assert_type(stream.read(), bytes)
    return unchanged(guarded(proxy))


def narrower_will_do(proxy: Proxy[FastPort], section: Section[FastPort]) -> tuple[Proxy[Port], Section[Port | None]]:
    return proxy, section


def refused(proxy: Proxy[Port]) -> int | None:
    try:
        with proxy.access():
            return None
    except Revoked as gone:
        return gone.errno


def late(provider: Provider[Port]) -> list[Blocker]:
    try:
        provider.revoke(timeout=0)
    except RevokeTimeout as error:
        if error.pending is not None:
            error.pending.wait()
        return error.blockers
    return []


async def in_a_loop(provider: Provider[Port], proxy: Proxy[Port]) -> None:
    with proxy.access() as port:
        assert_type(port, Port)
    async with aio.cancelling(proxy) as port:
        assert_type(port, Port)
    await aio.wait_revoked(proxy)
    assert_type(await provider.areplace(Port(), timeout=1), Port)
    assert_type(await provider.arevoke(timeout=1), bool)
    async with provider as same:
        assert_type(same, Provider[Port])


def together(hub: Device) -> bool:
    provider = hub.provide(Port(), release=Port.close, stall_after=None)
    assert_type(provider, Provider[Port])
    hub.add_action(print, "one", 2)
    hub.add_action_or_reset(print)
    assert_type(hub.attach(Device("port")), Device)
    dump()
    return hub.remove(timeout=1)


def vanishing() -> None:
    file = files.open(files.provide("/dev/null", on_gone=lambda gone: gone.revoke_soon()).proxy())
    assert_type(file.write(b"ping"), int | None)
    sock = sockets.open(sockets.provide(socket.socket()).proxy())
    assert_type(sock.recv(10), bytes)
    memory = buffers.provide(mmap(-1, 4096))
    assert_type(memory, Provider[mmap])
    with buffers.array(memory.proxy(), "u1", (64, 64)) as pixels:
        pixels[:] = 0
    buffers.close(memory.replace(mmap(-1, 4096)))


def between_processes(port: Port) -> None:
    with remote.announce("unix:port", port, release=Port.close, interrupt=Port.cancel_read, info={"path": "/dev/x"}) as shared:
        assert_type(shared, remote.Shared[Port])
        assert_type(shared.proxy("owner"), Proxy[Port])
        assert_type(shared.replace(FastPort(), info={}, timeout=1), tuple[Port, remote.Outcome])
        assert_type(shared.holders(), list[remote.Holder])
        outcome = shared.revoke(timeout=5, fence_after=1)
        assert_type(outcome.holders, tuple[remote.Holder, ...])
    with remote.attach("unix:port", open=lambda info: Port(), release=Port.close, patience=5) as handle:
        assert_type(handle, remote.Handle[Port])
        assert_type(handle.proxy(), Proxy[Port])
        assert_type(handle.close(timeout=1), bool)


async def between_processes_in_a_loop(shared: remote.Shared[Port], handle: remote.Handle[Port]) -> None:
    assert_type(await shared.arevoke(), remote.Outcome)
    assert_type(await handle.aclose(), bool)


def domain(routes: Domain) -> None:
    with routes.read() as nothing:
        assert_type(nothing, None)
    routes.synchronize(timeout=1)
    routes.call(print, "one", 2)
    assert_type(routes.poll(routes.start_poll()), bool)
    routes.barrier()


def backend() -> str:
    return {"c": "fast", "py": "plain"}[BACKEND]
