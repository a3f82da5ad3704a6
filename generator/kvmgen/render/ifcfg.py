"""Links as el6, el7 and el8 describe them: ifcfg, route and route6 files under /etc/sysconfig/network-scripts."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.artifact import Artifact, Kind
from kvmgen.model.host import Link, Node
from kvmgen.model.values import Route
from kvmgen.render._header import hash_header
from kvmgen.render._ifcfg_keys import gateway4, gateway6, keys, quoted
from kvmgen.render._machine import Machine

FOLDER = "etc/sysconfig/network-scripts"

NEEDS_NETWORK_SCRIPTS = "# Needs the package network-scripts: NetworkManager leaves this link alone.\n"
"""el8's ``ifup`` is NetworkManager's own unless that package is there. Scripts grep these files, comments included, for
``DEVICE=``, ``TYPE=``, ``SLAVE=`` and ``NM_CONTROLLED=``: none of them may be spelt out here."""


def files(node: Node) -> Iterator[Artifact]:
    """The files of every link; ``ifcfg-NAME`` must be named as its DEVICE, and ``route-NAME`` too."""
    machine = Machine.of(node)
    if node.platform.major == 6:
        yield _sysconfig_network(node, machine)
    for link in node.links:
        yield _artifact(link, f"ifcfg-{link.name}", _ifcfg(link, machine))
        for version, name in ((4, f"route-{link.name}"), (6, f"route6-{link.name}")):
            routes = _routes(link, version)
            if routes:
                yield _artifact(link, name, hash_header(link.origin) + routes)


def _artifact(link: Link, name: str, text: str) -> Artifact:
    return Artifact(path=f"{FOLDER}/{name}", text=text, kind=Kind.LINK, sources=(link.origin,))


def _ifcfg(link: Link, machine: Machine) -> str:
    note = NEEDS_NETWORK_SCRIPTS if machine.node.platform.major == 8 else ""
    return hash_header(link.origin) + note + _assignments(keys(link, machine))


def _assignments(pairs: Iterator[tuple[str, str]]) -> str:
    return "".join(f"{key}={quoted(value)}\n" for key, value in pairs)


def _routes(link: Link, version: int) -> str:
    """The arguments of ``ip route add``, one route a line, without the default route that is a key of the ifcfg file.

    Never ``ADDRESS0=`` lines: ``ifup-routes`` takes a file with one of those for a shell script.
    """
    said_by_key = (gateway4(link.addressing), gateway6(link.addressing))
    routes = (route for route in link.addressing.routes if route.version == version and route not in said_by_key)
    return "".join(_route(route, link.name) for route in routes)


def _route(route: Route, device: str) -> str:
    metric = "" if route.metric is None else f" metric {route.metric}"
    return f"{route.to or 'default'} via {route.via} dev {device}{metric}\n"


def _sysconfig_network(node: Node, machine: Machine) -> Artifact:
    """el6's global settings: the host's name stands here, and without NETWORKING_IPV6 no link gets IPv6."""
    return Artifact(
        path="etc/sysconfig/network",
        text=hash_header(node.origin) + _assignments(_global_keys(node, machine)),
        kind=Kind.LINK,
        sources=(node.origin,),
    )


def _global_keys(node: Node, machine: Machine) -> Iterator[tuple[str, str]]:
    yield "NETWORKING", "yes"
    yield "NETWORKING_IPV6", "yes"
    if machine.forwards_ipv6:
        yield "IPV6FORWARDING", "yes"
    yield "HOSTNAME", node.hostname
