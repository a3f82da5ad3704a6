"""The links of hosts."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.site import Site

LINKS_NOT_WRITTEN = Rule(code="KV202", title="Links that kvmgen doesn't write", severity=Severity.WARNING)


def not_written(site: Site) -> Iterator[Diagnostic]:
    """From el9 on ifcfg files are deprecated, then gone, and kvmgen doesn't write NetworkManager's keyfiles yet.

    The links of such a host are only believed: what stands on them is built, and they themselves must be made by hand
    as they are described. Whoever does that silences this where the platform stands.

    Bad::

        # hosts/kvm02.yaml
        platform: el9
        ethernets: {eno1: {}}

    Good::

        # hosts/kvm02.yaml
        platform: el9  # kvmgen: ignore KV202 -- its links are made by hand
        ethernets: {eno1: {}}

    Source: https://networkmanager.dev/docs/api/latest/nm-settings-keyfile.html.
    """
    for host in site.hosts.values():
        if not host.platform.uses_ifcfg and any(host.links):
            yield Diagnostic(
                rule=LINKS_NOT_WRITTEN,
                message=f"no files are written for the links of {host.name}: {host.platform} has no ifcfg files",
                hint="Make them by hand as they are described here; what stands on them is built all the same.",
                origin=host.origin.at("platform"),
            )
