"""What users must not write: each line that is marked must be reported, and no other. It is never run."""

from __future__ import annotations

from ref_proxy import Provider, Proxy, Section, guarded
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


def domain(routes: Domain) -> None:
    routes.poll("cookie")  # error
    routes.call(Port().write)  # error
    routes.synchronize(timeout="5")  # error


class Mine(Proxy[Port]):  # error
    pass
