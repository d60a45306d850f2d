"""What users must not write: each line that is marked must be reported, and no other. It is never run."""

from __future__ import annotations

from ref_proxy import Device, Provider, Proxy, Section, aio, guarded, remote
from ref_proxy.srcu import Domain


class Port:
    def close(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:
        return len(data)


def owner(port: Port) -> None:
    provider = Provider(port)
    Provider(port, Port.close)  # error
    Provider(port, release=bytes.decode)  # error
    Provider(port, release="close")  # error
    Provider(port, name=1)  # error
    Provider()  # error
    provider.replace("another thing")  # error
    provider.replace(None)  # error
    provider.revoke(timeout="5")  # error
    provider.revoke_soon(5)  # error
    provider.state = "revoked"  # error
    provider.port = port  # error
    provider.access()  # error


def consumer(proxy: Proxy[Port], section: Section[Port]) -> None:
    with proxy.access() as port:
        port.read()  # error
    with proxy.try_access() as maybe:
        maybe.write(b"it may be None")  # error
    proxy.try_access().resource.write(b"it may be None")  # error
    proxy.write(b"it is no port")  # error
    proxy.access(timeout=5)  # error
    proxy.revoked = True  # error
    section.resource = port  # error
    section.end(port)  # error
    with proxy:  # error
        pass


def existing_code(port: Port, proxy: Proxy[Port]) -> None:
    guarded(port)  # error
    guarded(Provider(port))  # error
    guarded(proxy).read()  # error
    guarded(proxy).access()  # error
    guarded(proxy, name="reader")  # error


def wider_will_not_do(proxy: Proxy[object], section: Section[Port | None]) -> None:
    one: Proxy[Port] = proxy  # error
    two: Section[Port] = section  # error
    print(one, two)


async def in_a_loop(provider: Provider[Port], proxy: Proxy[Port]) -> None:
    await provider.areplace("a string")  # error
    await provider.arevoke(timeout="5")  # error
    async with aio.cancelling(provider):  # error
        pass
    await aio.wait_revoked(provider)  # error
    with aio.cancelling(proxy):  # error
        pass


def together(hub: Device) -> None:
    hub.attach("port")  # error
    hub.add_action(Port().write)  # error
    hub.provide(Port(), release=bytes.decode)  # error


def between_processes(shared: remote.Shared[Port]) -> None:
    remote.announce("unix:port", Port(), release=bytes.decode)  # error
    remote.attach("unix:port")  # error
    remote.attach("unix:port", open=Port)  # error
    shared.replace("a string")  # error
    shared.revoke(fence_after="5")  # error


def domain(routes: Domain) -> None:
    routes.poll("cookie")  # error
    routes.call(Port().write)  # error
    routes.synchronize(timeout="5")  # error


class Mine(Proxy[Port]):  # error
    pass
