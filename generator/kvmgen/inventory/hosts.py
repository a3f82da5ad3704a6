"""Lowering hosts, and the insides of guests, which are machines of the same kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kvmgen.diagnostics import Origin
from kvmgen.inventory.context import NOT_TOGETHER, SITE, Context, Data, Document, memory
from kvmgen.inventory.firewall import lower_firewall
from kvmgen.inventory.firewall_rules import refuse_what_the_platform_lacks
from kvmgen.inventory.links import Links, lower_links
from kvmgen.inventory.schema import MISSING_KEY
from kvmgen.model.host import BUILT_IN_ZONES, Firewall, Host, Link, Sysctl
from kvmgen.model.platform import Platform


def lower_host(context: Context, name: str, document: Document, site_defaults: Data) -> Host:
    """A host as its file and the site's defaults say it; what its guests need of it is added later."""
    data = {**site_defaults, **document.data}
    origin = document.origin
    context.inherit(document, site_defaults, SITE.at("defaults", "hosts"))
    if "platform" not in data:
        hint = "Add it here or to the `defaults` of the site: `platform: el8`."
        context.error(MISSING_KEY, origin, "the document lacks 'platform'", hint)
        data["platform"] = "el8"  # any will do: nothing is made of it
    links = lower_links(context, name, data, origin)
    names = {link.name for layer in _layers(links) for link in layer}
    if "management" in data and data["management"] not in names:
        context.no_reference(origin.at("management"), "link", data["management"], names)
    return Host(
        **node_fields(context, name, data, origin, links),
        memory=memory(data["memory"]) if "memory" in data else None,
        cpus=data.get("cpus"),
        management=data.get("management"),
    )


def node_fields(context: Context, name: str, data: Data, origin: Origin, links: Links) -> dict[str, Any]:
    """The fields of a `Node`: what hosts and the insides of guests share."""
    platform = Platform.parse(data["platform"])
    netfilter = data.get("firewall", {}).get("bridge-netfilter")
    return {
        "name": name,
        "origin": origin,
        "platform": platform,
        "hostname": context.full_name(name, data),
        "dns": context.dns(data.get("dns"), context.at(origin, "dns")),
        "ethernets": links.ethernets,
        "bonds": links.bonds,
        "vlans": links.vlans,
        "bridges": links.bridges,
        "sysctl": _sysctl(context, data.get("sysctl", {}), context.at(origin, "sysctl")),
        "firewall": _firewall(context, platform, data, origin, links),
        "bridge_netfilter": netfilter,
        "bridge_netfilter_at": None if netfilter is None else origin.at("firewall", "bridge-netfilter"),
    }


def _layers(links: Links) -> Iterable[tuple[Link, ...]]:
    return (links.ethernets, links.bonds, links.vlans, links.bridges)


def _sysctl(context: Context, settings: Mapping[str, Any], origin: Origin) -> tuple[Sysctl, ...]:
    bridged = [key for key in settings if key.replace("/", ".").startswith("net.bridge.bridge-nf-call-")]
    if len(bridged) in (1, 2):
        message = f"{bridged[0]} is set, but not its siblings for the other protocols"
        hint = "Say `firewall: {bridge-netfilter: true}` or false, which sets all three."
        context.error(NOT_TOGETHER, origin.at(bridged[0]), message, hint, on_key=True)
    return tuple(Sysctl(key=key, value=str(value), origin=origin.at(key)) for key, value in sorted(settings.items()))


def _firewall(context: Context, platform: Platform, data: Data, origin: Origin, links: Links) -> Firewall | None:
    said = data.get("firewall", {})
    place = origin.at("firewall")
    zones: dict[str, list[str]] = {}
    for layer in _layers(links):
        for link in layer:
            if link.zone is not None:
                zones.setdefault(link.zone, []).append(link.name)
                if link.zone not in BUILT_IN_ZONES and link.zone not in said.get("zones", {}):
                    known = BUILT_IN_ZONES | said.get("zones", {}).keys()
                    context.no_reference(link.origin.at("zone"), "zone", link.zone, known)
    refuse_what_the_platform_lacks(context, platform, said, place, zones)
    if not said.keys() & {"zones", "policies", "chains", "direct", "chain-policies", "ipv6-rpfilter"}:
        return None
    return lower_firewall(context, said, place, zones)
