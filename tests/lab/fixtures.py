"""The laboratory's pytest fixtures.

A host takes about a tenth of a second and its libvirtd another two, so that each module has its own; whoever changes
more than it takes back asks for a host of one test.
"""

from collections.abc import Iterator

import pytest

from tests.lab.host import LabHost


@pytest.fixture
def lab_host() -> Iterator[LabHost]:
    """A host of one test, with nothing started in it."""
    with LabHost() as host:
        yield host


@pytest.fixture(scope="module")
def lab_libvirt() -> Iterator[LabHost]:
    """A module's host with libvirtd running, no network defined and no domain."""
    with LabHost() as host:
        host.start_libvirtd()
        yield host
