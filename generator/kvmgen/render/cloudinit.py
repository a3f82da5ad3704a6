"""NoCloud seeds: what cloud-init in a guest's image reads, as files for reviewers and as the image of a cdrom.

The image lies on every host that can carry the guest. Only root reads it there, for user data may hold what isn't
everybody's; libvirt lends it to QEMU while the guest runs. Sources:
https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html and network-config-format-v2.html beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import sha256

from kvmgen.artifact import Artifact, Kind, Lines
from kvmgen.model.guest import CloudInit, Guest, GuestInterface, seed_image
from kvmgen.model.host import Addressing
from kvmgen.model.site import HostView
from kvmgen.model.values import Dns, Route
from kvmgen.render._header import hash_header

Mapped = Mapping[str, object]


def render(view: HostView) -> Iterator[Artifact]:
    """The seeds of all guests that the host can carry; their texts, which nobody copies, at the guests' home."""
    for guest in view.site.guests.values():
        if guest.cloud_init is None or view.host.name not in guest.hosts:
            continue
        texts = seed(guest, guest.cloud_init)
        sources = (guest.cloud_init.origin, guest.origin, *(nic.origin for nic in guest.interfaces), *guest.inherits)
        if view.host.name == guest.home:
            for name, text in texts.items():
                path = f"guests/{guest.name}/seed/{name}"
                lines = partial(_lines_of, guest, name, text)
                yield Artifact(path=path, text=text, kind=Kind.GUEST_FILE, sources=sources, mode=0o600, lines=lines)
        yield Artifact(
            path=seed_image(guest.name)[1:],
            text="",
            binary=partial(_image, guest, texts),
            kind=Kind.SEED,
            sources=sources,
            mode=0o600,
        )


def _lines_of(guest: Guest, name: str, text: str) -> Lines:
    from kvmgen.render.origins.cloudinit import seed_lines

    return seed_lines(guest, name, text)


def _image(guest: Guest, texts: Mapping[str, str]) -> bytes:
    from kvmgen.render._iso import image

    return image(hash_header(guest.origin), texts)


def seed(guest: Guest, said: CloudInit) -> dict[str, str]:
    """The seed's files by their names."""
    header = hash_header(guest.origin)
    network = network_config(guest, said.dns)
    return {
        "meta-data": header + _lines({"instance-id": _instance(guest, network), "local-hostname": said.hostname}),
        "network-config": header + _network_text(network),
        "user-data": "#cloud-config\n" + header + _user_data(said),
    }


def _instance(guest: Guest, network: Mapped) -> str:
    """Another one for everything that cloud-init takes only for a new instance and the guest can't be without."""
    assert guest.cloud_init is not None
    applied = json.dumps([network, guest.cloud_init.instance])
    return f"{guest.uuid}-{sha256(applied.encode()).hexdigest()[:12]}"


def _user_data(said: CloudInit) -> str:
    from kvmgen.render._cloud_config import as_yaml

    short, _, domain = said.hostname.partition(".")
    own: dict[str, object] = {"hostname": short, **({"fqdn": said.hostname} if domain else {})}
    if "manage_etc_hosts" not in said.user_data:
        own["manage_etc_hosts"] = "localhost"
    return _lines(own) + (as_yaml(said.user_data) if said.user_data else "")


def network_config(guest: Guest, dns: Dns) -> dict[str, object]:
    """The subset of netplan's format that cloud-init documents; every NIC is known by its MAC."""
    resolver = _resolver(guest)
    nics = {nic.name: dict(_ethernet(nic, dns if nic.name == resolver else Dns())) for nic in guest.interfaces}
    return {"version": 2, "ethernets": nics}


def _resolver(guest: Guest) -> str | None:
    """The NIC that the resolver is said at: best one with addresses, for renderers forget it beside DHCP alone."""
    nics = [nic for nic in guest.interfaces if not nic.addressing.is_empty]
    nics.sort(key=lambda nic: (not nic.addressing.addresses, not any(map(is_default, nic.addressing.routes))))
    return nics[0].name if nics else None


def _ethernet(nic: GuestInterface, dns: Dns) -> Iterator[tuple[str, object]]:
    own = nic.addressing
    yield "match", {"macaddress": nic.mac}
    yield "set-name", nic.name
    if nic.mtu is not None:
        yield "mtu", nic.mtu
    if own.dhcp4:
        yield "dhcp4", True
    if own.dhcp6:
        yield "dhcp6", True
    yield "accept-ra", own.accept_ra
    if own.addresses:
        yield "addresses", [str(address) for address in own.addresses]
    gateways = [route for route in own.routes if is_gateway(route, own)]
    yield from ((f"gateway{route.version}", str(route.via)) for route in gateways)
    if routes := [_route(route) for route in own.routes if route not in gateways]:
        yield "routes", routes
    resolving = {"addresses": [str(server) for server in dns.servers], "search": list(dns.search)}
    if resolving := {key: values for key, values in resolving.items() if values}:
        yield "nameservers", resolving


def is_default(route: Route) -> bool:
    """Whether the route is its family's default route."""
    return route.to is None or route.to.prefixlen == 0


def is_gateway(route: Route, addressing: Addressing) -> bool:
    """Whether the route is said as ``gateway4`` or ``gateway6``.

    Netplan would rather see a route, but ``default`` stops a cloud-init before 22.4, and all but netplan's renderer
    make ``::/64`` of ``::/0``. The gateways need a static address of their family.
    """
    return is_default(route) and any(address.version == route.version for address in addressing.addresses)


def _route(route: Route) -> dict[str, object]:
    to = str(route.to) if route.to else "0.0.0.0/0" if route.version == 4 else "::/0"
    said: dict[str, object] = {"to": to, "via": str(route.via)}
    return said if route.metric is None else {**said, "metric": route.metric}


def _network_text(network: dict[str, object]) -> str:
    """One line a word, every string in quotes: to YAML 1.1, many a MAC is a number."""
    nics = network["ethernets"]
    assert isinstance(nics, dict)
    if not nics:
        return _lines(network)
    texts = (f"  {json.dumps(name)}:\n{_lines(nic, '    ')}" for name, nic in nics.items())
    return _lines({"version": network["version"]}) + "ethernets:\n" + "".join(texts)


def _lines(said: Mapped, indent: str = "") -> str:
    """A mapping as YAML; what JSON writes, YAML reads."""
    return "".join(f"{indent}{key}: {json.dumps(value)}\n" for key, value in said.items())
