"""What a guest's virtual hardware can't be."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.pci import clashes
from kvmgen.model.site import Site

PCI_TWICE = Rule(code="KV405", title="Two NICs at one PCI address")


def pci_addresses(site: Site) -> Iterator[Diagnostic]:
    """A NIC's PCI address follows from its name or is pinned; libvirt refuses a guest with one address twice.

    Names such as eth0 or enp2s0 say their place, others get one of sixteen by a hash, and two of them may meet. Nothing
    but a pinned address can part them without moving another NIC some day.

    Bad::

        # guests/web01.yaml
        eth0: {network: default}
        lan: {bridge: br0, pci: "01:00.0"}

    Good::

        # guests/web01.yaml
        eth0: {network: default}
        lan: {bridge: br0, pci: "11:00.0"}

    Source: https://libvirt.org/pci-addresses.html.
    """
    for guest in site.guests.values():
        for names in clashes(guest):
            first, *others = (guest.origin.at("interfaces", name) for name in names)
            yield Diagnostic(
                rule=PCI_TWICE,
                message=f"the interfaces {' and '.join(names)} of {guest.name} would have one PCI address",
                hint='Pin another one to one of them, for example `pci: "00:1f.0"` on pc or `"11:00.0"` on q35.',
                origin=others[-1],
                related=((first, "the other interface"),),
                on_key=True,
            )
