"""The fixtures of the specification."""

from __future__ import annotations

import pytest

from ref_proxy import Provider
from tests.support import Resource


@pytest.fixture
def resource() -> Resource:
    return Resource()


@pytest.fixture
def provider(resource: Resource):
    """A live provider of `resource`, which is removed when the test has left it."""
    provider = Provider(resource, release=Resource.release, interrupt=Resource.interrupt, name="line")
    yield provider
    provider.revoke(timeout=0)


@pytest.fixture
def proxy(provider: Provider[Resource]):
    return provider.proxy("reader")
