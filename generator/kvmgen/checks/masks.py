"""Masks of nwfilters' rules."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from ipaddress import ip_address

from kvmgen.checks._filters import conditions, own_rules
from kvmgen.diagnostics import Diagnostic, Rule
from kvmgen.model.site import Site

HOLES = Rule(code="KV590", title="Masks with holes")


def holes(site: Site) -> Iterator[Diagnostic]:
    """libvirt takes a mask whose set bits all stand in front, and refuses the filter for any other.

    That holds for MACs and for IPv6 addresses. A whole MAC has the mask ff:ff:ff:ff:ff:ff, which needn't be written;
    the MAC itself, written once more, is no mask.

    Bad::

        # filters/web.yaml
        rules:
          - {action: drop, direction: out, mac: {dstmacaddr: "52:54:00:00:00:00", dstmacmask: "ff:ff:00:ff:00:00"}}
          - {action: drop, direction: out, ipv6: {dstipaddr: "2001:db8::", dstipmask: "ffff:0:ffff::"}}

    Good::

        # filters/web.yaml
        rules:
          - {action: drop, direction: out, mac: {dstmacaddr: "52:54:00:00:00:00", dstmacmask: "ff:ff:ff:00:00:00"}}
          - {action: drop, direction: out, ipv6: {dstipaddr: "2001:db8::", dstipmask: "ffff:fff0::"}}

    Source: https://github.com/libvirt/libvirt/blob/master/src/conf/nwfilter_conf.c (``checkValidMask``), and
    https://libvirt.org/formatnwfilter.html.
    """
    for _, rule in own_rules(site):
        for name, text in conditions(rule).items():
            if name.endswith("mask") and rule.match is not None and "01" in _bits(text):
                yield Diagnostic(
                    rule=HOLES,
                    message=f"{name} {text} has a bit set behind one that isn't: libvirt refuses the filter",
                    hint="Set the bits from the left without a gap, or write a rule for each part.",
                    origin=rule.origin.at(rule.match.protocol, name),
                )


@cache
def _bits(mask: str) -> str:
    """A mask's bits; nothing for a prefix length, which has no holes, and for a variable."""
    if mask.startswith("$") or mask.isdecimal():
        return ""
    is_mac = mask.count(":") == 5 and "::" not in mask
    packed = bytes.fromhex(mask.replace(":", "")) if is_mac else ip_address(mask).packed
    return "".join(f"{byte:08b}" for byte in packed)
