"""What a guest's cloud-init makes of its seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from kvmgen.diagnostics import Diagnostic, Origin, Rule, Severity
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.site import Site
from kvmgen.model.values import Route

ROUTE_LOST = Rule(code="KV437", title="A route that cloud-init loses", severity=Severity.WARNING)
SECRET = Rule(code="KV438", title="A secret in user data", severity=Severity.WARNING)

_Finding = tuple[str, str]
"""Why, and what to do."""


def routes(site: Site) -> Iterator[Diagnostic]:
    """cloud-init hands network-config on to netplan as it is; for everybody else it makes something of its own of it.

    There, a route's metric is dropped; `::/0` beside no static IPv6 address becomes `::/64`; routes of an interface
    without any address, or with router advertisements alone, are dropped. On el9 before its minor 4, IPv6 routes of an
    interface that has IPv4 as well land in the profile's IPv4 section, where NetworkManager ignores them.

    Bad::

        # guests/web02.yaml
        interfaces:
          eth0: {bridge: br0, accept-ra: true, routes: [{to: default, via: "2001:db8::1"}]}
        cloud-init: {}

    Good::

        # guests/web02.yaml
        interfaces:
          eth0: {bridge: br0, addresses: ["2001:db8::21/64"], routes: [{to: default, via: "2001:db8::1"}]}
        cloud-init: {}

    Source: https://docs.cloud-init.io/en/latest/reference/network-config-format-v2.html,
    https://github.com/canonical/cloud-init/issues/4600 and https://github.com/canonical/cloud-init/issues/4518; its
    renderers, of 22.4.
    """
    for guest, nic in site.nics():
        for index, route in enumerate(nic.addressing.routes if guest.cloud_init else ()):
            found = _why_lost(guest, nic, route)
            if found:
                yield Diagnostic(
                    rule=ROUTE_LOST,
                    message=f"cloud-init in {guest.name} loses {found[0]}, unless netplan is there",
                    hint=found[1],
                    origin=nic.origin.at("routes", index),
                )


def _why_lost(guest: Guest, nic: GuestInterface, route: Route) -> _Finding | None:
    own = nic.addressing
    versions = {address.version for address in own.addresses}
    if not (versions or own.dhcp4 or own.dhcp6):
        return f"the routes of {nic.name}, which has no address of its own", "Give the interface an address, or DHCP."
    if route.to is None and route.version == 6 and 6 not in versions:
        hint = "Give the interface a static IPv6 address, or let router advertisements bring the route."
        return f"the IPv6 default route of {nic.name}, which has no static IPv6 address", hint
    if route.metric is not None:
        return f"the metric of a route of {nic.name}", "Leave it out, or set the route by `user-data`."
    if route.to is not None and route.version == 6 and (own.dhcp4 or 4 in versions) and _mixes_routes_up(guest):
        hint = "Set the route by `user-data`, or name the minor in the guest's `platform` where it is el9.4 or later."
        return f"the IPv6 route of {nic.name}, which has IPv4 as well", hint
    return None


def _mixes_routes_up(guest: Guest) -> bool:
    return guest.inside is not None and not guest.inside.platform.sorts_routes_of_seeds


def secrets(site: Site) -> Iterator[Diagnostic]:
    """The inventory and the output lie in a repository, and the guest's image of the seed on its hosts.

    Whoever reads one of them has the password or the key. Hashes and public halves do as well: `passwd` takes a hash,
    `ssh_authorized_keys` public keys. Whatever must stay secret comes from elsewhere once the guest runs.

    Bad::

        # guests/web01.yaml
        cloud-init:
          user-data:
            users:
              - {name: admin, plain_text_passwd: geheim}

    Good::

        # guests/web01.yaml
        cloud-init:
          user-data:
            users:
              - {name: admin, ssh_authorized_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample admin]}

    Source: https://docs.cloud-init.io/en/latest/reference/modules.html (Users and Groups, Set Passwords, SSH).
    """
    told: set[Origin] = set()
    for guest in site.guests.values():
        if guest.cloud_init is None:
            continue
        for place in _secrets(guest.cloud_init.user_data, guest.cloud_init.origin.at("user-data")):
            if place not in told:  # a profile's is one secret for all its guests
                told.add(place)
                yield Diagnostic(
                    rule=SECRET,
                    message=f"everybody who reads the repository reads this secret, {place.pointer[-1]!r}",
                    hint="Give a hash (`passwd`) or a public key, or bring it into the guest by another way.",
                    origin=place,
                    on_key=True,
                )


_PASSWORDS = frozenset(("password", "plain_text_passwd", "plain_text_password"))
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_HASH = re.compile(r"\$[0-9a-z]+\$.+")


def _secrets(data: object, place: Origin) -> Iterator[Origin]:
    """Where passwords and private keys stand, at any depth."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            if key in _PASSWORDS and isinstance(value, str) and value != "RANDOM" and not _HASH.fullmatch(value):
                yield place.at(key)
            else:
                yield from _secrets(value, place.at(key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _secrets(value, place.at(index))
    elif isinstance(data, str) and _PRIVATE_KEY.search(data):
        yield place
