"""A machine's links, addresses and routes, as its ifcfg files or its NetworkManager profiles have them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from ipaddress import ip_address, ip_interface, ip_network

from kvmgen.model.values import Address, Interface, Network
from kvmgen.reachability.folder import Folder
from kvmgen.value import value

_IFCFG = "etc/sysconfig/network-scripts/"
_KEYFILES = "etc/NetworkManager/system-connections/"
_EVERYTHING = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@value
class RouteTo:
    """One route: ``via`` is ``None`` for what is reached directly."""

    to: Network
    via: Address | None


@value
class Link:
    """A link of a machine; ``file`` describes it. ``master`` is the bridge or bond that it is a port of.

    ``kind`` is ``ethernet``, ``bond``, ``vlan`` or ``bridge``. ``dhcp`` is whether it asks for IPv4 addresses, which
    nobody knows here. ``vlans`` are the VLAN tags that a port carries on a bridge that keeps VLANs apart
    (``filters_vlans``).
    """

    name: str
    kind: str
    file: str
    master: str | None = None
    mac: str | None = None
    addresses: tuple[Interface, ...] = ()
    routes: tuple[RouteTo, ...] = ()
    dhcp: bool = False
    filters_vlans: bool = False
    vlans: tuple[int, ...] = ()


def links(folder: Folder, inside: str | None = None) -> Mapping[str, Link]:
    """Every link of the host, or of the inside of one of its guests, by name."""
    root = folder.root(inside)
    found = [*_ifcfg_links(folder, root), *_keyfile_links(folder, root)]
    return {link.name: link for link in found}


def _ifcfg_links(folder: Folder, root: str) -> Iterator[Link]:
    for path, text in folder.under(f"{root}{_IFCFG}ifcfg-"):
        keys = _assignments(text)
        name = keys.get("DEVICE", path.rpartition("ifcfg-")[2])
        if name == "lo" or keys.get("ONBOOT", "yes") == "no":
            continue
        yield Link(
            name=name,
            kind={"Bond": "bond", "Bridge": "bridge", "Vlan": "vlan"}.get(keys.get("TYPE", ""), "ethernet"),
            file=path,
            master=keys.get("MASTER") if keys.get("SLAVE") == "yes" else keys.get("BRIDGE"),
            mac=(keys.get("HWADDR") or keys.get("MACADDR") or "").lower() or None,
            addresses=tuple(_ifcfg_addresses(keys)),
            routes=(*_ifcfg_gateways(keys), *_route_files(folder, root, name)),
            dhcp=keys.get("BOOTPROTO") == "dhcp",
        )


def _assignments(text: str) -> dict[str, str]:
    """What a file of plain assignments sets, as the shell that sources it would."""
    found = {}
    for line in text.splitlines():
        name, is_assignment, quoted = line.strip().partition("=")
        if is_assignment and not name.startswith("#"):
            found[name] = "".join(shlex.split(quoted)) if "'" in quoted or '"' in quoted else quoted
    return found


def _ifcfg_addresses(keys: Mapping[str, str]) -> Iterator[Interface]:
    for name, text in keys.items():
        if numbered := re.fullmatch(r"IPADDR(\d*)", name):
            number = numbered[1]
            length = keys.get(f"PREFIX{number}") or keys.get(f"NETMASK{number}") or "32"
            yield ip_interface(f"{text}/{length}")
    for text in (keys.get("IPV6ADDR", "") + " " + keys.get("IPV6ADDR_SECONDARIES", "")).split():
        yield ip_interface(text)


def _ifcfg_gateways(keys: Mapping[str, str]) -> Iterator[RouteTo]:
    for name in ("GATEWAY", "IPV6_DEFAULTGW"):
        if keys.get(name):
            via = ip_address(keys[name].partition("%")[0])
            yield RouteTo(to=_EVERYTHING[via.version], via=via)


def _route_files(folder: Folder, root: str, name: str) -> Iterator[RouteTo]:
    for prefix in ("route-", "route6-"):
        text = folder.files.get(f"{root}{_IFCFG}{prefix}{name}", "")
        keys = _assignments(text)
        for key in keys:
            if key.startswith("ADDRESS"):
                number = key.removeprefix("ADDRESS")
                to = ip_network(f"{keys[key]}/{keys.get(f'NETMASK{number}', '32')}")
                yield RouteTo(to=to, via=ip_address(keys[f"GATEWAY{number}"]) if f"GATEWAY{number}" in keys else None)
        for line in text.splitlines():
            words = line.split()
            if words and not words[0].startswith("#") and "=" not in line:
                via = ip_address(words[words.index("via") + 1].partition("%")[0]) if "via" in words else None
                version = via.version if via else 6 if prefix == "route6-" else 4
                to = _EVERYTHING[version] if words[0] == "default" else ip_network(words[0], strict=False)
                yield RouteTo(to=to, via=via)


def _keyfile_links(folder: Folder, root: str) -> Iterator[Link]:
    for path, text in folder.under(f"{root}{_KEYFILES}"):
        parsed = ConfigParser(interpolation=None, strict=False, delimiters=("=",), comment_prefixes=("#",))
        parsed.read_string(text)
        profile = {section: dict(parsed[section]) for section in parsed.sections()}
        connection = profile.get("connection", {})
        if not connection.get("interface-name") or connection.get("type", "").startswith("ovs-"):
            continue
        addresses, routes = _of_profile(profile)
        mac = profile.get("ethernet", {}).get("mac-address") or profile.get("bridge", {}).get("mac-address") or ""
        yield Link(
            name=connection["interface-name"],
            kind=connection.get("type", "ethernet"),
            file=path,
            master=connection.get("master") or connection.get("controller"),
            mac=mac.lower() or None,
            addresses=addresses,
            routes=routes,
            dhcp=profile.get("ipv4", {}).get("method") == "auto",
            filters_vlans=profile.get("bridge", {}).get("vlan-filtering") == "true",
            vlans=tuple(int(tag) for tag in re.findall(r"\d+", profile.get("bridge-port", {}).get("vlans", ""))),
        )


def _of_profile(profile: Mapping[str, Mapping[str, str]]) -> tuple[tuple[Interface, ...], tuple[RouteTo, ...]]:
    addresses: list[Interface] = []
    routes: list[RouteTo] = []
    for section in ("ipv4", "ipv6"):
        for key, text in profile.get(section, {}).items():
            if re.fullmatch(r"address\d+", key):
                addresses.append(ip_interface(text.partition(",")[0]))
            elif re.fullmatch(r"route\d+", key):
                to, _, rest = text.partition(",")
                via = rest.partition(",")[0]
                routes.append(RouteTo(to=ip_network(to, strict=False), via=ip_address(via) if via else None))
            elif key == "gateway":
                via_address = ip_address(text)
                routes.append(RouteTo(to=_EVERYTHING[via_address.version], via=via_address))
    return tuple(addresses), tuple(routes)


def settings(folder: Folder, inside: str | None = None) -> Mapping[str, str]:
    """The kernel settings that the files leave in force, the last one said winning."""
    root, found = folder.root(inside), {}
    texts = [text for _, text in folder.under(f"{root}etc/sysctl.d/")] + [
        text for _, text in folder.under(f"{root}etc/sysctl.conf")
    ]
    for line in "\n".join(texts).splitlines():
        key, is_setting, said = line.partition("=")
        if is_setting and not key.lstrip().startswith(("#", ";")):
            found[key.strip().removeprefix("-")] = said.strip()
    return found
