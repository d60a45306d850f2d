"""S12: what was written before publishing is seen inside; what readers wrote inside is seen when the removal returns."""

from __future__ import annotations

from tests.support import Call, Resource


class Version:
    """Two fields that a reader may never see apart."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.copy = number
        self.readers: list[int] = [0, 0]


def test_readers_see_whole_versions_and_the_writer_sees_all_that_they_wrote():
    from ref_proxy import Provider

    provider = Provider(Version(0))
    proxy = provider.proxy()

    def read(i):
        counts: dict[int, int] = {}
        while (section := proxy.try_access()).resource is not None:
            with section as version:
                assert version.number == version.copy >= 0
                version.readers[i] += 1  # each reader its own place: no other ordering than the section's
                counts[version.number] = counts.get(version.number, 0) + 1
        return counts

    readers = [Call(read, i) for i in range(2)]
    retired = []
    for number in range(1, 300):
        old = provider.replace(Version(number))
        retired.append((old.number, list(old.readers)))
        old.number = old.copy = -1  # nobody may see this
    provider.revoke()
    counts = [call.result() for call in readers]
    for number, seen in retired:
        assert seen == [counts[0].get(number, 0), counts[1].get(number, 0)]


def test_the_release_sees_what_the_last_section_wrote():
    from ref_proxy import Provider

    for _ in range(200):
        resource = Resource()
        seen: list[list[str]] = []
        provider = Provider(resource, release=lambda r, seen=seen: seen.append(list(r.log)))
        section = provider.proxy().access()
        section.detach()

        def write(section=section, resource=resource):
            resource.log.append("written")
            section.end()

        call = Call(write)
        provider.revoke()
        call.result()
        assert seen == [["written"]]
