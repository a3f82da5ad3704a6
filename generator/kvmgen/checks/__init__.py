"""The semantic checks: short pure generators from the model, in one visible table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kvmgen.checks import clashes, features, filters, firewall, hardware, links, names
from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.site import Site

Check = Callable[[Site], Iterable[Diagnostic]]

CHECKS: tuple[tuple[Rule, Check], ...] = (
    (clashes.ADDRESS_TWICE, clashes.addresses),
    (names.LIBVIRTS_BRIDGE_NAME, names.bridge_names),
    (links.LINKS_NOT_WRITTEN, links.not_written),
    (names.NETWORK_NAME_TWICE, names.network_names),
    (names.BRIDGE_TWICE, names.bridges),
    (clashes.MAC_TWICE, clashes.macs),
    (clashes.GROUP_MAC, clashes.group_macs),
    (clashes.FOREIGN_MAC, clashes.foreign_macs),
    (clashes.UUID_TWICE, clashes.uuids),
    (hardware.PCI_TWICE, hardware.pci_addresses),
    (filters.FILTER_CYCLE, filters.cycles),
    (firewall.GUESTS_CUT_OFF, firewall.cut_off),
    (features.TOO_NEW, features.too_new),
)


def check(site: Site) -> Iterator[Diagnostic]:
    """Everything that the checks find."""
    for _, one in CHECKS:
        yield from one(site)
