"""Services in firewalld's zones and policies."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from kvmgen.checks._firewalld import services
from kvmgen.checks._services import SERVICES
from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.site import Site

UNKNOWN_SERVICE = Rule(code="KV690", title="A service that doesn't come with firewalld", severity=Severity.WARNING)


def unknown_services(site: Site) -> Iterator[Diagnostic]:
    """A zone with a service that the host doesn't have is no small matter: firewalld gives up all of its configuration.

    It says INVALID_SERVICE, runs with the zones that it came with, and no direct rule or zone of the inventory is in
    force. kvmgen writes no services: one that doesn't come with firewalld must have been made on the host by hand.

    Bad::

        # hosts/kvm01.yaml
        lan: {services: [ssh, htpp]}

    Good::

        # hosts/kvm01.yaml
        lan: {services: [ssh, http]}

    Source: https://firewalld.org/documentation/service/, and what comes with it:
    https://github.com/firewalld/firewalld/tree/main/config/services.
    """
    for node in site.nodes():
        for service, place in services(node):
            if service not in SERVICES:
                yield Diagnostic(
                    rule=UNKNOWN_SERVICE,
                    message=f"firewalld comes with no service {service!r}; where nobody made one, it drops all of "
                    "its configuration for its own defaults",
                    hint=_hint(service),
                    origin=place,
                )


def _hint(service: str) -> str:
    near = difflib.get_close_matches(service, SERVICES, n=1)
    meant = f"Did you mean {near[0]!r}?" if near else "Open its ports by number: `ports: [8080/tcp]`."
    return f"{meant} If it is made on the host, silence this with a word about who does."
