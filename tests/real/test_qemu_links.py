"""The compiled links of every host that has ifcfg files, brought up on a kernel that has bonds and VLANs.

network-scripts belong to no Debian release, so `ifup.sh` does what they do with the files. This shows that the kernel
accepts the options, the layers and their order, and that the outcome is the model's; it doesn't show that initscripts
read the files that way. NICs are dummies of the right names and MACs; each host has a network namespace of its own, all
in one boot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kvmgen.artifact import Kind
from kvmgen.model.host import Bond, Bridge, Ethernet, Host, Link, Vlan
from tests.lab.host import LabError
from tests.lab.machine import run_in_machine
from tests.real.profiles import hosts
from tests.real.site import HOSTS, CompiledSite

pytestmark = pytest.mark.real

NETWORK_SCRIPTS = "etc/sysconfig/network-scripts"
SCRIPTED = sorted(set(HOSTS) - set(hosts()))
IFUP = Path(__file__).with_name("ifup.sh")
KINDS: dict[type[Link], str] = {Ethernet: "dummy", Bond: "bond", Vlan: "vlan", Bridge: "bridge"}


@dataclass(slots=True)
class Report:
    """What `ip` says of one host's links, and sysfs of its bonds' options."""

    links: dict[str, dict[str, Any]] = field(default_factory=dict)
    gateways: set[tuple[str, str]] = field(default_factory=set)
    options: dict[tuple[str, str], str] = field(default_factory=dict)

    def read(self, kind: str, rest: str) -> None:
        if kind == "links":
            self.links = {link["ifname"]: link for link in json.loads(rest)}
        elif kind == "routes":
            self.gateways |= {(route["gateway"], route["dev"]) for route in json.loads(rest)}
        else:
            bond, option, value = rest.split(" ", 2)
            self.options[bond, option] = value


@pytest.fixture(scope="module")
def reports(compiled_site: CompiledSite) -> dict[str, Report]:
    """Every host, from one boot."""
    files = {"ifup.sh": IFUP.read_text()}
    for name in SCRIPTED:
        host = compiled_site.hosts[name]
        files[f"{name}.sh"] = "\n".join(_script(host.view.host))
        links = (file for file in host.of_kind(Kind.LINK) if file.path.startswith(NETWORK_SCRIPTS))
        files |= {f"{name}/{file.path}": file.text for file in links}
    main = "\n".join(f"unshare --net --mount bash -eu /{name}.sh || exit 1" for name in SCRIPTED)
    found = {name: Report() for name in SCRIPTED}
    for line in run_in_machine(main, files).splitlines():
        name, kind, rest = line.split(" ", 2)
        found[name].read(kind, rest)
    return found


def _script(host: Host) -> Iterator[str]:
    yield "mount -t sysfs sysfs /sys"
    for nic in host.ethernets:
        yield f"ip link add {nic.name} address {nic.mac} type dummy"
    yield f"bash /ifup.sh /{host.name}/{NETWORK_SCRIPTS}"
    yield f'echo "{host.name} links $(ip -details -json address)"'
    for family in ("-4", "-6"):
        yield f'echo "{host.name} routes $(ip {family} -json route show default)"'
    for bond in host.bonds:
        for option, _ in bond.options:
            value = f"$(</sys/class/net/{bond.name}/bonding/{option})"
            yield f'echo "{host.name} option {bond.name} {option} {value}"'


@pytest.fixture(params=SCRIPTED)
def case(
    request: pytest.FixtureRequest, compiled_site: CompiledSite, reports: dict[str, Report]
) -> tuple[Host, Report]:
    return compiled_site.hosts[request.param].view.host, reports[request.param]


def test_every_link_is_there_in_its_layer(case: tuple[Host, Report]) -> None:
    host, report = case
    assert set(report.links) == {"lo", *(link.name for link in host.links)}
    for link in host.links:
        there = report.links[link.name]
        assert there["linkinfo"]["info_kind"] == KINDS[type(link)]
        assert there.get("master") == (link.bond or link.bridge), link.name
        assert "UP" in there["flags"], link.name
        assert link.mtu in (None, there["mtu"]), link.name


def test_every_bond_has_its_options_and_ports(case: tuple[Host, Report]) -> None:
    host, report = case
    for bond in host.bonds:
        # sysfs says the option's name and its number.
        assert {key: report.options[bond.name, key].split()[0] for key, _ in bond.options} == dict(bond.options)
        assert {name for name, link in report.links.items() if link.get("master") == bond.name} == set(bond.ports)


def test_every_vlan_is_on_its_parent(case: tuple[Host, Report]) -> None:
    host, report = case
    for vlan in host.vlans:
        there = report.links[vlan.name]
        assert (there["link"], there["linkinfo"]["info_data"]["id"]) == (vlan.parent, vlan.id)
        assert there["linkinfo"]["info_data"]["protocol"] == "802.1Q"


def test_every_bridge_has_its_settings_and_ports(case: tuple[Host, Report]) -> None:
    host, report = case
    for bridge in host.bridges:
        data = report.links[bridge.name]["linkinfo"]["info_data"]
        assert (data["stp_state"], data["forward_delay"]) == (int(bridge.stp), bridge.forward_delay * 100)
        assert {name for name, link in report.links.items() if link.get("master") == bridge.name} == set(bridge.ports)


def test_addresses_stand_on_the_topmost_link(case: tuple[Host, Report]) -> None:
    host, report = case
    for link in host.links:
        there = report.links[link.name]["addr_info"]
        found = {f"{address['local']}/{address['prefixlen']}" for address in there if address["scope"] == "global"}
        assert found == {str(address) for address in link.addressing.addresses}, link.name
    routes = ((link, route) for link in host.links for route in link.addressing.routes)
    assert report.gateways == {(str(route.via), link.name) for link, route in routes if route.to is None}


def test_the_kernel_refuses_what_is_wrong() -> None:
    """Else the tests above would hold whatever the files said."""
    wrong = 'DEVICE=bond0\nTYPE=Bond\nBONDING_MASTER=yes\nBONDING_OPTS="mode=balance-rr lacp_rate=fast"\n'
    with pytest.raises(LabError, match="Permission denied"):
        run_in_machine("bash /ifup.sh /wrong", {"ifup.sh": IFUP.read_text(), "wrong/ifcfg-bond0": wrong})
