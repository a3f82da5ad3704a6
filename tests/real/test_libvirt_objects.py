"""Networks and domains on a real libvirtd: what it holds afterwards is what was meant."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from kvmgen.model.network import Forward
from kvmgen.render.network import network_xml
from tests.lab.domain import as_testable
from tests.lab.host import LabHost
from tests.real.compare import differences
from tests.render.shapes import DOMAINS, NETWORKS, domain_text

pytestmark = pytest.mark.real

DEFINABLE = [name for name, shape in NETWORKS.items() if not shape.pci_addresses]
"""The others name virtual functions of a card, which libvirt looks for when it defines them."""


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHost]:
    """A host with libvirtd and the links that the shapes name."""
    with LabHost() as host:
        host.start_libvirtd()
        for link in ("br0", "eth0", "eth1"):
            host.add_bridge(link)
        yield host


@pytest.mark.parametrize("name", DEFINABLE)
def test_network(lab: LabHost, name: str) -> None:
    """It is defined under validation and nothing of it is lost."""
    shape = NETWORKS[name]
    meant = network_xml(shape)
    lab.virsh_with("net-define", meant, "--validate")
    dumped = lab.virsh("net-dumpxml", shape.libvirt_name, "--inactive").stdout
    assert differences(meant, dumped) == []
    assert _order(meant) == _order(dumped), "the file reads as libvirt writes it"


@pytest.mark.parametrize("name", [name for name in DEFINABLE if NETWORKS[name].forward is not Forward.NAT])
def test_network_starts(lab: LabHost, name: str) -> None:
    """And it runs; the NAT shape asks for a firewalld zone, which this host has not."""
    lab.virsh_with("net-define", network_xml(NETWORKS[name]), "--validate")
    lab.virsh("net-start", name)
    assert lab.virsh("net-info", name).stdout.count("yes") >= 1
    lab.virsh("net-destroy", name)


@pytest.mark.parametrize("name", DOMAINS)
def test_domain(lab: LabHost, name: str) -> None:
    """Everything but what makes it RHEL's own is defined under validation, and nothing of it is lost."""
    meant = as_testable(domain_text(name))
    lab.virsh_with("define", meant, "--validate")
    dumped = lab.virsh("dumpxml", name, "--inactive").stdout
    dumped = re.sub(r"machine='pc-(?:i440fx|(q35))-[^']*'", lambda found: f"machine='{found[1] or 'pc'}'", dumped)
    assert differences(meant, dumped) == []


def _order(xml: str) -> list[str]:
    """The network's own elements, by their tags."""
    return re.findall(r"^  <(\w+)", xml, re.MULTILINE)
