"""Links as el6, el7 and el8 describe them: ifcfg, route and route6 files under /etc/sysconfig/network-scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from kvmgen.artifact import Artifact, Kind, Lines
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
        text = _ifcfg(link, machine)
        yield _artifact(link, f"ifcfg-{link.name}", text, partial(_lines, link, machine, text))
        for version, name in ((4, f"route-{link.name}"), (6, f"route6-{link.name}")):
            routes = _routes(link, version)
            if routes:
                text = hash_header(link.origin) + routes
                yield _artifact(link, name, text, partial(_route_lines, link, version, text))


def _artifact(link: Link, name: str, text: str, lines: Callable[[], Lines]) -> Artifact:
    return Artifact(path=f"{FOLDER}/{name}", text=text, kind=Kind.LINK, sources=(link.origin,), lines=lines)


def _lines(link: Link, machine: Machine, text: str) -> Lines:
    from kvmgen.render.origins.links import ifcfg_places
    from kvmgen.render.origins.walk import key_lines

    return key_lines(text, ifcfg_places(link, machine))


def _route_lines(link: Link, version: int, text: str) -> Lines:
    from kvmgen.render.origins.links import route_origins
    from kvmgen.render.origins.walk import listed_lines

    return {**listed_lines(text, route_origins(link, version)), 1: (link.origin,)}


def _global_lines(node: Node, text: str) -> Lines:
    from kvmgen.render.origins.links import global_places
    from kvmgen.render.origins.walk import key_lines

    return key_lines(text, global_places(node))


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
    text = hash_header(node.origin) + _assignments(_global_keys(node, machine))
    return Artifact(
        path="etc/sysconfig/network",
        text=text,
        kind=Kind.LINK,
        sources=(node.origin,),
        lines=partial(_global_lines, node, text),
    )


def _global_keys(node: Node, machine: Machine) -> Iterator[tuple[str, str]]:
    yield "NETWORKING", "yes"
    yield "NETWORKING_IPV6", "yes"
    if machine.forwards_ipv6:
        yield "IPV6FORWARDING", "yes"
    yield "HOSTNAME", node.hostname
