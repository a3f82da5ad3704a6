"""Virtual networks: whole files, and what must hold whatever is written into them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from kvmgen.artifact import Defines, Kind
from kvmgen.diagnostics import Origin
from kvmgen.model.network import (
    Dhcp,
    DnsForwarder,
    DnsHost,
    DnsSrv,
    DnsTxt,
    Forward,
    Nat,
    NetworkDns,
    Portgroup,
    VirtualNetwork,
)
from kvmgen.render.network import network_xml, render
from tests.render.builders import address, addresses, lease, leases, network, view
from tests.render.shapes import GOLDEN, NETWORKS

HOSTILE_TEXT = st.text(
    st.one_of(st.sampled_from("'\"<>&]-\n\t\r $"), st.characters(codec="utf-8", categories=["L", "N"]))
)


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_file(name: str) -> None:
    """A golden that isn't there fails."""
    golden = (GOLDEN / f"network-{name}.xml").read_text(encoding="utf-8")
    assert network_xml(NETWORKS[name]) == golden


@pytest.mark.real
@pytest.mark.parametrize("name", NETWORKS)
def test_libvirt_schema(name: str) -> None:
    """libvirt's own schema accepts it."""
    command = ["virt-xml-validate", str(GOLDEN / f"network-{name}.xml"), "network"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_artifact() -> None:
    """The file is named as virsh names the network."""
    carried = network("lan", libvirt_name="default", autostart=False)
    (artifact,) = render(view(networks=(carried,)))
    assert artifact.path == "libvirt/networks/default.xml"
    assert artifact.kind is Kind.NETWORK
    assert artifact.sources == (carried.origin, carried.origin.at("hosts", "kvm01"))
    assert artifact.defines == Defines(name="default", uuid=carried.uuid, autostart=False)


NAMED = (
    network(domain="my_lab.example.org"),
    network(dns=NetworkDns(hosts=(DnsHost(address=address("192.0.2.7"), names=("db", "db_1")),))),
    network(dns=NetworkDns(txts=(DnsTxt(name="_dmarc.example.org", value="v=DMARC1"),))),
    network(dns=NetworkDns(forwarders=(DnsForwarder(domain="_msdcs.example.org"),))),
    network(dns=NetworkDns(srvs=(DnsSrv(service="ldap", protocol="tcp", domain="_msdcs.example.org"),))),
)


@pytest.mark.real
@pytest.mark.parametrize("shape", [network(domain="lab.example.org"), *NAMED])
def test_what_libvirts_schema_refuses_is_not_validated(shape: VirtualNetwork, tmp_path: Path) -> None:
    """It has no underscore in a DNS name, unlike libvirtd and dnsmasq."""
    (artifact,) = render(view(networks=(shape,)))
    file = tmp_path / "network.xml"
    file.write_text(artifact.text, encoding="utf-8")
    done = subprocess.run(["virt-xml-validate", str(file), "network"], check=False, capture_output=True, timeout=30)
    assert artifact.defines is not None
    assert artifact.defines.validate is (done.returncode == 0) is (shape not in NAMED)


@given(HOSTILE_TEXT)
def test_any_text_comes_back(text: str) -> None:
    """Whatever a TXT record holds, libvirt's parser reads the same."""
    shape = network(dns=NetworkDns(txts=(DnsTxt(name="note", value=text),)), domain=text)
    root = etree.fromstring(network_xml(shape))
    assert _attribute(root, "dns/txt", "value") == text
    assert _attribute(root, "domain", "name") == text


def test_leases_stand_under_the_address_whose_subnet_holds_them() -> None:
    """Two addresses may share a subnet: libvirt takes one DHCP section for it, so the first one has it."""
    shape = network(
        forward=Forward.NAT,
        addresses=addresses("10.0.0.1/24", "192.168.1.1/24", "192.168.1.2/24", "fd00::1/64"),
        dhcp=Dhcp(ranges=(leases("192.168.1.10", "192.168.1.20"),), hosts=(lease("fd00::5", name="web01"),)),
        tftp="/srv/tftp",
        bootp_file="boot.0",
    )
    root = etree.fromstring(network_xml(shape))
    holding = {ip.get("address", ""): {child.tag for child in ip.iter()} - {"ip"} for ip in root.findall("ip")}
    assert holding == {
        "10.0.0.1": set(),
        "192.168.1.1": {"tftp", "dhcp", "range", "bootp"},
        "192.168.1.2": set(),
        "fd00::1": {"dhcp", "host"},
    }


def test_a_network_boot_without_leases_stands_under_the_first_ipv4_address() -> None:
    """IPv6 comes first in the model here."""
    shape = network(forward=Forward.ROUTE, addresses=addresses("fd00::1/64", "10.0.0.1/24"), tftp="/srv/tftp")
    root = etree.fromstring(network_xml(shape))
    assert [ip.get("address") for ip in root.findall("ip[tftp]")] == ["10.0.0.1"]


@pytest.mark.parametrize("said", [{"nat": Nat()}, {"dns": NetworkDns()}, {"dhcp": Dhcp()}])
def test_what_says_nothing_writes_nothing(said: dict[str, object]) -> None:
    """An empty part is the same as none."""
    plain = network(forward=Forward.NAT, addresses=addresses("10.0.0.1/24"))
    assert network_xml(replace(plain, **said)) == network_xml(plain)  # type: ignore[arg-type]


def test_a_portgroup_never_says_isolated_itself() -> None:
    """libvirt drops it there without a word, and its schema refuses it."""
    root = etree.fromstring(network_xml(network(portgroups=(Portgroup(name="dmz", isolated=True),))))
    assert root.find(".//port") is None


def test_the_header_is_a_comment_whatever_the_files_name() -> None:
    """XML allows no two dashes in a row within a comment."""
    root = etree.fromstring(network_xml(network(origin=Origin("networks/a---b--.yaml"))))
    assert root.tag == "network"


def _attribute(root: etree._Element, path: str, name: str) -> str | None:
    element = root.find(path)
    assert element is not None
    return element.get(name)
