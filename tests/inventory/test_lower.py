"""From valid data to the model: identities, inheritance, and what lands on which host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from kvmgen import pipeline
from kvmgen.diagnostics import has_errors
from kvmgen.inventory.identity import Identity
from kvmgen.inventory.lower import lower
from kvmgen.inventory.read import read
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.site import HostView, Site, views
from tests.sites import EXAMPLE, SITE, SMALL, write


def lowered(folder: Path, files: Mapping[str, str]) -> Site:
    """The site that an inventory describes; what the checks would say of it doesn't matter here."""
    documents = read(write(folder, {"site.yaml": SITE, **files}))
    site, problems = lower(documents)
    assert not has_errors(documents.diagnostics + problems), [problem.message for problem in problems]
    assert site is not None
    return site


def view(site: Site, host: str) -> HostView:
    return next(view for view in views(site) if view.host.name == host)


def filters_of(site: Site, host: str) -> list[str]:
    return [filter_.name for filter_ in view(site, host).filters]


def nic(guest: Guest, name: str) -> GuestInterface:
    return next(nic for nic in guest.interfaces if nic.name == name)


HOST = "platform: el8.6\nbridges: {br0: {}, br1: {}}\n"


# Identities. The literal values are a promise: another derivation would give every running guest of every site another
# UUID and another MAC.


def test_derived_identities_are_pinned() -> None:
    identity = Identity("founding")
    assert identity.uuid("guest", "web01") == "ec3991ab-6ae1-5c05-8d5c-3347d5460980"
    assert identity.uuid("network", "kvm1", "default") == "944e3c12-87a0-5da2-b5c4-fbc77b54058d"
    assert identity.uuid("filter", "web") == "9a26aab6-7c81-5160-b68d-0a493b315983"
    assert identity.mac("guest", "web01", "eth0") == "52:54:b4:a3:50:aa"
    assert identity.mac("network", "kvm1", "default") == "52:54:35:35:a2:c2"
    assert Identity("other").uuid("guest", "web01") == "977e5b40-19f1-54cd-840d-8a77efda8af6"
    assert Identity("other").mac("guest", "web01", "eth0") == "52:54:21:4f:4b:1f"


def test_the_examples_identities_are_pinned() -> None:
    """The same through the whole reader: which names go in, and in which order."""
    site = pipeline.load(EXAMPLE).site
    assert site is not None
    guest = site.guests["arch3"]
    assert guest.uuid == "e7c5cbae-d4e4-5d8d-8198-5d627dea1a9a"
    assert {nic.name: nic.mac for nic in guest.interfaces} == {
        "eth0": "52:54:ac:79:c0:2a",
        "eth1": "52:54:3d:f7:98:27",
        "eth2": "52:54:41:23:db:05",
    }
    network = site.networks["kvm-el8"]["arch-nat"]
    assert (network.uuid, network.mac) == ("7d6f8b9f-e806-5b31-b599-ea227c4b3afc", "52:54:2d:72:f8:64")
    assert site.filters["web"].uuid == "9a26aab6-7c81-5160-b68d-0a493b315983"
    assert site.filters["kvmgen-arp"].uuid == "10442a8c-9003-512b-89c7-1f5916c9d90f"


def test_a_guest_that_moves_stays_itself(tmp_path: Path) -> None:
    """Neither hosts, nor order, nor other interfaces and guests matter to UUID and MAC."""
    files = {"hosts/kvm1.yaml": HOST, "hosts/kvm2.yaml": HOST}
    interfaces = "interfaces: {eth0: {bridge: br0}, eth1: {bridge: br1}}\n"
    before = lowered(tmp_path / "a", {**files, "guests/web.yaml": f"hosts: [kvm1]\n{interfaces}"}).guests["web"]
    other = "interfaces: {zeth: {bridge: br1}, eth1: {bridge: br0}, aeth: {bridge: br0}}\n"
    moved = {**files, "guests/web.yaml": f"hosts: [kvm2, kvm1]\n{other}", "guests/also.yaml": "hosts: [kvm1]\n"}
    after = lowered(tmp_path / "b", moved).guests["web"]
    assert (before.home, after.home) == ("kvm1", "kvm2")
    assert before.uuid == after.uuid
    assert nic(before, "eth1").mac == nic(after, "eth1").mac
    assert len({interface.mac for interface in (*before.interfaces, *after.interfaces)}) == 4


def test_a_network_is_another_one_on_each_host(tmp_path: Path) -> None:
    site = lowered(tmp_path, SMALL)
    one, two = site.networks["kvm1"]["lab"], site.networks["kvm2"]["lab"]
    assert one.uuid != two.uuid
    assert one.mac != two.mac
    assert (one.segment, two.segment) == ("kvm1/lab", "kvm2/lab")


def test_pins_win(tmp_path: Path) -> None:
    uuid = "1c3384c7-093a-5689-2cf3-320ef716ba2e"
    other = uuid.replace("1c", "2c")
    site = lowered(
        tmp_path,
        {
            "hosts/kvm1.yaml": HOST,
            "hosts/kvm2.yaml": HOST,
            "networks/lab.yaml": (
                f"uuid: {uuid}\nhosts:\n  kvm1: {{}}\n  kvm2: {{uuid: {other}, bridge: {{name: virbr1}}}}\n"
                'forward: isolated\nbridge: {name: virbr1, mac: "52:54:00:AA:BB:CC"}\n'
            ),
            "filters/web.yaml": f"uuid: {uuid}\nrules: []\n",
            "guests/web.yaml": (
                f"uuid: {uuid}\nhosts: [kvm1]\n"
                'interfaces: {eth0: {bridge: br0, mac: "52:54:00:AA:BB:CD", filter: web}}\n'
            ),
        },
    )
    assert site.guests["web"].uuid == site.filters["web"].uuid == site.networks["kvm1"]["lab"].uuid == uuid
    assert site.guests["web"].interfaces[0].mac == "52:54:00:aa:bb:cd"
    assert site.networks["kvm1"]["lab"].mac == "52:54:00:aa:bb:cc"
    assert site.networks["kvm2"]["lab"].uuid == other
    assert site.networks["kvm2"]["lab"].mac not in (None, "52:54:00:aa:bb:cc")  # its `bridge` is its own


# What lands where.


FILTERED = {
    **{f"hosts/kvm{number}.yaml": HOST for number in (1, 2, 3)},
    "filters/c.yaml": "rules: [{filter: allow-arp}]\n",
    "filters/b.yaml": "rules: [{filter: c}]\n",
    "filters/a.yaml": "rules: [{filter: d}, {filter: b}]\n",
    "filters/d.yaml": "rules: [{filter: c}]\n",
    "filters/unused.yaml": "rules: [{filter: c}]\n",
    "guests/web.yaml": "hosts: [kvm2, kvm1]\ninterfaces: {eth0: {bridge: br0, filter: a}}\n",
    "guests/mail.yaml": "hosts: [kvm3]\ninterfaces: {eth0: {bridge: br0, filter: b}, eth1: {bridge: br1}}\n",
}


def test_filters_are_where_a_guest_can_be_and_nowhere_else(tmp_path: Path) -> None:
    """Leaves first, each once, built-in ones left to libvirt; the domain is at the guest's home alone."""
    site = lowered(tmp_path, FILTERED)
    assert filters_of(site, "kvm1") == filters_of(site, "kvm2") == ["c", "d", "b", "a"]
    own = filters_of(site, "kvm3")
    assert own[:2] == ["c", "b"]
    assert own[-1] == "kvmgen-anti-spoofing-mac"
    assert [[guest.name for guest in view(site, host).guests] for host in site.hosts] == [[], ["web"], ["mail"]]


def test_every_filter_stands_behind_what_it_includes() -> None:
    """On the whole example."""
    site = pipeline.load(EXAMPLE).site
    assert site is not None
    for host in views(site):
        seen: set[str] = set()
        for filter_ in host.filters:
            assert {name for name in filter_.includes if name in site.filters} <= seen
            seen.add(filter_.name)


@pytest.mark.parametrize(
    ("rules", "stateful"),
    [
        ("[{action: accept, direction: in, tcp: {}}]", True),
        ("[{action: accept, direction: in, all-ipv6: {}}]", True),
        ("[{filter: deep}]", True),
        ("[{action: accept, direction: in, ip: {protocol: tcp}}, {action: drop, direction: in}]", False),
        ("[{filter: clean-traffic}]", False),
    ],
)
def test_rules_for_iptables_switch_bridge_netfilter_on(tmp_path: Path, rules: str, stateful: bool) -> None:
    """On every host that can carry the guest, and on no other; what the inventory says of it stands."""
    files = {
        **{f"hosts/kvm{number}.yaml": HOST for number in (1, 2, 3)},
        "hosts/kvm4.yaml": HOST + "firewall: {bridge-netfilter: false}\n",
        "filters/deep.yaml": "rules: [{filter: deeper}]\n",
        "filters/deeper.yaml": "rules: [{action: drop, direction: inout, udp: {}}]\n",
        "filters/own.yaml": f"rules: {rules}\n",
        "guests/web.yaml": "hosts: [kvm1, kvm2, kvm4]\ninterfaces: {eth0: {bridge: br0, filter: own}}\n",
    }
    site = lowered(tmp_path, files)
    found = {name: host.bridge_netfilter for name, host in site.hosts.items()}
    on = True if stateful else None
    assert found == {"kvm1": on, "kvm2": on, "kvm3": None, "kvm4": False}
    zones = {
        name: [zone.name for zone in host.firewall.zones] if host.firewall else [] for name, host in site.hosts.items()
    }
    assert zones == {"kvm1": ["br0"] if stateful else [], "kvm2": ["br0"] if stateful else [], "kvm3": [], "kvm4": []}


@pytest.mark.parametrize(
    ("rule", "on"),
    [
        ("-m physdev --physdev-is-bridged -j ACCEPT", True),
        ("-i virbr1 -p tcp -o virbr1 -j DROP", True),
        ("-i virbr1 -o br0 -j DROP", None),  # routed
        ("! -i virbr1 -o virbr1 -j DROP", None),
        ("-i virbr1 ! -o virbr1 -j DROP", None),
    ],
)
def test_rules_about_bridged_frames_switch_bridge_netfilter_on(tmp_path: Path, rule: str, on: bool | None) -> None:
    """On hosts' bridges and networks' alike; settings that the inventory has of its own stand."""
    keys = ("iptables", "ip6tables", "arptables")
    zeros = "sysctl: {" + ", ".join(f"net.bridge.bridge-nf-call-{tables}: 0" for tables in keys) + "}\n"
    host = f'{HOST}firewall: {{direct: [{{family: both, table: mangle, chain: FORWARD, rule: "{rule}"}}]}}\n'
    network = "hosts: {kvm1: {}, kvm2: {}}\nforward: isolated\nbridge: {name: virbr1}\n"
    files = {"hosts/kvm1.yaml": host, "hosts/kvm2.yaml": host + zeros, "networks/lab.yaml": network}
    site = lowered(tmp_path, files)
    assert {name: host.bridge_netfilter for name, host in site.hosts.items()} == {"kvm1": on, "kvm2": None}


def test_forwarding_follows_from_routed_networks(tmp_path: Path) -> None:
    """For the versions that the network has; what the inventory says of it stands."""
    network = (
        "hosts: {kvm1: {}, kvm2: {}}\nforward: route\nbridge: {name: virbr1}\n"
        'addresses: [192.0.2.1/24, "2001:db8::1/64"]\n'
    )
    isolated = "hosts: {kvm3: {}}\nforward: isolated\nbridge: {name: virbr1}\naddresses: [192.0.2.1/24]\n"
    files = {
        "hosts/kvm1.yaml": HOST,
        "hosts/kvm2.yaml": HOST + "sysctl: {net.ipv4.ip_forward: 0}\n",
        "hosts/kvm3.yaml": HOST,
        "networks/routed.yaml": network,
        "networks/isolated.yaml": isolated,
    }
    hosts = lowered(tmp_path, files).hosts
    assert {name: {s.key: (s.value, bool(s.why)) for s in host.sysctl} for name, host in hosts.items()} == {
        "kvm1": {"net.ipv4.ip_forward": ("1", True), "net.ipv6.conf.all.forwarding": ("1", True)},
        "kvm2": {"net.ipv6.conf.all.forwarding": ("1", True), "net.ipv4.ip_forward": ("0", False)},
        "kvm3": {},
    }


# Inheritance.


def test_a_guests_own_word_stands_before_its_profile_and_that_before_the_defaults(tmp_path: Path) -> None:
    """Key by key, whole values: a mapping is replaced, not merged."""
    site = (
        SITE
        + "defaults: {guests: {vcpus: 2, memory: 2 GiB, rng: true, title: default, cpu: {mode: host-passthrough}}}\n"
        + "profiles: {large: {vcpus: 8, memory: 8 GiB, title: profile, cpu: {topology: "
        + "{sockets: 1, cores: 4, threads: 2}}}}\n"
    )
    guests = lowered(
        tmp_path,
        {
            "site.yaml": site,
            "hosts/kvm1.yaml": HOST,
            "guests/plain.yaml": "hosts: [kvm1]\n",
            "guests/large.yaml": "hosts: [kvm1]\nprofile: large\n",
            "guests/own.yaml": "hosts: [kvm1]\nprofile: large\ntitle: own\nrng: false\ncpu: {}\n",
        },
    ).guests
    found = {guest.name: (guest.vcpus, guest.memory, guest.title, guest.rng) for guest in guests.values()}
    assert found == {
        "plain": (2, 2 * 1024**2, "default", True),
        "large": (8, 8 * 1024**2, "profile", True),
        "own": (8, 8 * 1024**2, "own", False),
    }
    assert {name: guests[name].cpu.mode for name in found} == {
        "plain": "host-passthrough",
        "large": "host-model",
        "own": "host-model",
    }
    assert [name for name in found if guests[name].cpu.topology] == ["large"]
    assert [guests[name].autostart for name in found] == [True, True, True]  # the schema's default


def test_a_host_inherits_from_the_site(tmp_path: Path) -> None:
    site = SITE + "defaults: {hosts: {platform: el7, dns: {servers: [192.0.2.53]}, sysctl: {kernel.sysrq: 0}}}\n"
    files = {
        "site.yaml": site,
        "hosts/kvm1.yaml": "{}\n",
        "hosts/kvm2.yaml": "platform: el8\ndns: {}\nsysctl: {kernel.core_uses_pid: 1}\n",
    }
    hosts = lowered(tmp_path, files).hosts
    assert [str(host.platform) for host in hosts.values()] == ["el7", "el8"]
    assert [[str(server) for server in host.dns.servers] for host in hosts.values()] == [["192.0.2.53"], []]
    assert [[s.key for s in host.sysctl] for host in hosts.values()] == [["kernel.sysrq"], ["kernel.core_uses_pid"]]
    assert [host.hostname for host in hosts.values()] == ["kvm1.example.org", "kvm2.example.org"]


def test_what_is_inherited_is_told_where_it_was_said(tmp_path: Path) -> None:
    """Once, although every host has it."""
    files = {
        "site.yaml": SITE + "defaults:\n  hosts:\n    dns: {servers: [1.2.3]}\n",
        "hosts/kvm1.yaml": "platform: el7\n",
        "hosts/kvm2.yaml": "platform: el7\n",
    }
    result = pipeline.load(write(tmp_path, files))
    (problem,) = result.diagnostics
    assert problem.origin is not None
    position = result.sources.position(problem)
    assert position is not None
    assert (problem.origin.file, position.line, position.column) == ("site.yaml", 5, 21)


# Leases.


def test_leases_follow_from_guests_addresses(tmp_path: Path) -> None:
    """One of each version for an interface, only in the subnet that is leased from, and none that is given by hand."""
    network = (
        "hosts: {kvm1: {}}\nforward: nat\nbridge: {name: virbr1}\n"
        'addresses: [192.0.2.1/24, 198.51.100.1/24, "2001:db8::1/64"]\n'
        "dhcp:\n  ranges: [192.0.2.100-192.0.2.199]\n"
        '  hosts: [{address: 192.0.2.7, mac: "52:54:00:00:00:07"}]\n'
    )
    site = lowered(
        tmp_path,
        {
            "hosts/kvm1.yaml": HOST,
            "networks/lab.yaml": network,
            "guests/a.lab.yaml": (
                'hosts: [kvm1]\ninterfaces: {eth0: {network: lab, mac: "52:54:00:00:00:01", '
                'addresses: [198.51.100.5/24, 192.0.2.5/24, 192.0.2.6/24, "2001:db8::5/64", 203.0.113.5/24]}}\n'
            ),
            "guests/b.yaml": (
                "hosts: [kvm1]\n"
                'interfaces: {eth0: {network: lab, mac: "52:54:00:00:00:07", addresses: [192.0.2.7/24]}}\n'
            ),
        },
    )
    lab = site.networks["kvm1"]["lab"]
    assert [(str(host.address), host.mac, host.name) for host in lab.dhcp.hosts] == [
        ("192.0.2.7", "52:54:00:00:00:07", None),
        ("192.0.2.5", "52:54:00:00:00:01", "a"),
    ]
    assert {str(host.address): host.names for host in lab.dns.hosts} == {
        "198.51.100.5": ("a",),
        "192.0.2.5": ("a",),
        "192.0.2.6": ("a",),
        "2001:db8::5": ("a",),
        "192.0.2.7": ("b",),
    }
