"""Synthetic sites: 20 guests a host, everything by counting, so that a site of one size is always the same.

A host has a bond of two NICs, three VLANs, three bridges, and carries a NAT and an isolated network. A guest has two
interfaces with addresses, two disks, and on both NICs a filter of six rules, one of five that the site shares. So
10,000 guests are 10,508 files: guests, 500 hosts, two networks, five filters and the site.
"""

from __future__ import annotations

from pathlib import Path

GUESTS_A_HOST = 20
ROLES = {
    "web": (22, 80, 443, 8080),
    "mail": (22, 25, 587, 993),
    "database": (22, 5432, 3306, 6432),
    "directory": (22, 389, 636, 88),
    "monitoring": (22, 9090, 9093, 3000),
}

_MODELINE = "# yaml-language-server: $schema=../../schemas/{kind}.schema.json\n"


def write_site(root: Path, guests: int) -> int:
    """Write an inventory of so many guests; returns the number of its files."""
    hosts = [f"kvm{number:04d}" for number in range(guests // GUESTS_A_HOST)]
    files = {"site.yaml": "name: bench\ndomain: bench.example.org\n"}
    files |= {f"hosts/{name}.yaml": _host(number) for number, name in enumerate(hosts)}
    files |= {f"guests/g{number:05d}.yaml": _guest(number, hosts) for number in range(guests)}
    files |= {f"filters/{name}.yaml": _filter(ports) for name, ports in ROLES.items()}
    files["networks/nat.yaml"] = _network("nat", "virbr0", "192.168.122", hosts)
    files["networks/isolated.yaml"] = _network("isolated", "virbr1", "192.168.123", hosts)
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return len(files)


REPEATED_ON_A_HOST = 50


def write_repeated(root: Path, guests: int) -> int:
    """Write an inventory whose hosts have all the same NAT network, with guests of the same addresses on it."""
    hosts = [f"kvm{number:04d}" for number in range(guests // REPEATED_ON_A_HOST)]
    files = {"site.yaml": "name: repeated\ndomain: bench.example.org\n"}
    files |= {f"hosts/{name}.yaml": _host(number) for number, name in enumerate(hosts)}
    files["networks/nat.yaml"] = _network("nat", "virbr0", "192.168.122", hosts)
    for name, ports in ROLES.items():
        services = f"allow-in:\n  - {{tcp: {list(ports)}, from: anyone}}\nallow-out:\n  - dns\n"
        files[f"policies/{name}.yaml"] = _MODELINE.format(kind="policy") + services
    for number in range(guests):
        host, place = divmod(number, REPEATED_ON_A_HOST)
        nic = f"{{network: nat, addresses: [192.168.122.{10 + place}/24], policies: [{list(ROLES)[number % 5]}]}}"
        machine = f"hosts: [{hosts[host]}]\nvcpus: 2\nmemory: 256 MiB\n"
        files[f"guests/g{number:05d}.yaml"] = _MODELINE.format(kind="guest") + f"{machine}interfaces:\n  eth0: {nic}\n"
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return len(files)


def _host(number: int) -> str:
    mac = f"00:25:90:{number >> 8:02x}:{number & 255:02x}"
    net = f"10.{number >> 8}.{number & 255}"
    return (
        _MODELINE.format(kind="host")
        + f"""platform: el7
memory: 64 GiB
management: br0
dns: {{servers: [10.255.0.1], search: [bench.example.org]}}
ethernets:
  eno1: {{mac: "{mac}:01"}}
  eno2: {{mac: "{mac}:02"}}
bonds:
  bond0: {{ports: [eno1, eno2], mode: active-backup, miimon: 100}}
vlans:
  bond0.10: {{parent: bond0, id: 10}}
  bond0.11: {{parent: bond0, id: 11}}
  bond0.12: {{parent: bond0, id: 12}}
bridges:
  br0: {{ports: [bond0.10], addresses: [{net}.1/24], routes: [{{to: default, via: {net}.254}}]}}
  br1: {{ports: [bond0.11]}}
  br2: {{ports: [bond0.12]}}
"""
    )


def _guest(number: int, hosts: list[str]) -> str:
    host, place = divmod(number, GUESTS_A_HOST)
    role = list(ROLES)[number % len(ROLES)]
    network, net = (("nat", "192.168.122"), ("isolated", "192.168.123"))[number % 2]
    return (
        _MODELINE.format(kind="guest")
        + f"""hosts: [{hosts[host]}]
vcpus: 2
memory: 2 GiB
disks:
  vda: {{volume: g{number:05d}.qcow2, pool: default}}
  vdb: {{volume: g{number:05d}-data.qcow2, pool: default, cache: none, discard: unmap}}
interfaces:
  eth0:
    network: {network}
    addresses: [{net}.{10 + place}/24]
    filter: {role}
  eth1:
    bridge: br{1 + number % 2}
    addresses: [172.{16 + (host >> 8)}.{host & 255}.{20 + place}/16]
    filter: {role}
"""
    )


def _filter(ports: tuple[int, ...]) -> str:
    rules = "".join(
        f"  - {{priority: {500 + index}, action: accept, direction: in, tcp: {{dstportstart: {port}}}}}\n"
        for index, port in enumerate(ports)
    )
    return (
        _MODELINE.format(kind="filter")
        + "chain: root\nrules:\n  - filter: clean-traffic\n"
        + rules
        + "  - {priority: 999, action: drop, direction: inout, all-ipv6: {}}\n"
        + "  - {priority: 1000, action: drop, direction: inout, all: {}}\n"
    )


def _network(forward: str, bridge: str, net: str, hosts: list[str]) -> str:
    return (
        _MODELINE.format(kind="network")
        + "hosts:\n"
        + "".join(f"  {host}: {{}}\n" for host in hosts)
        + f"""forward: {forward}
bridge: {{name: {bridge}}}
addresses: [{net}.1/24]
dhcp: {{ranges: [{net}.100-{net}.254]}}
"""
    )
