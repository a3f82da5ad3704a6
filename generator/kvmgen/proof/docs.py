"""The documentation of the rules about expectations, in the form of a check's docstring."""

from __future__ import annotations

NOT_SO = """\
What the inventory expects of a packet isn't what the hosts' files would do with it.

The packet is followed through the files that a build makes: filters, bridges, packet filters, routes, there and back.
Either the expectation is outdated, or the change would open or close what somebody relies on. The message names the
line that decides; `kvmgen reach` shows the whole way. `one-way` means that the packet arrives and its answer doesn't.

Bad::

    # site.yaml
    name: example
    expect:
      - {from: outside, to: web01, tcp: 80, verdict: blocked}

Good::

    # site.yaml
    name: example
    expect:
      - {from: outside, to: web01, tcp: 80, verdict: delivered}

Source: what a filter's rules become on a host (https://libvirt.org/formatnwfilter.html) and where a bridged packet
meets them (https://wiki.nftables.org/wiki-nftables/index.php/Netfilter_hooks).
"""

NOT_KNOWN = """\
Nothing certain can be said of a packet that the inventory expects something of.

A rule uses a match that isn't followed, the order in which libvirt puts its chains decides, or the packet comes to a
guest that would have to route it and whose inside isn't compiled. No verdict is guessed; the message says why.

Bad::

    # site.yaml
    name: example
    expect:
      - {from: web02, to: 198.51.100.9, tcp: 80}

    # guests/web02.yaml
    interfaces:
      eth0:
        bridge: br0
        addresses: [192.0.2.21/24]
        routes: [{to: 198.51.100.0/24, via: 192.0.2.20}]

Good::

    # site.yaml
    name: example
    expect:
      - {from: web02, to: web01, tcp: 80}

Source: the matches of iptables (https://ipset.netfilter.org/iptables-extensions.man.html).
"""

ASKS_NOTHING = """\
An expectation that no packet belongs to holds whatever the site does, so that it protects nothing.

A name is misspelt, a policy has no members, or the two ends have no IP version in common.

Bad::

    # site.yaml
    name: example
    expect:
      - {from: outside, to: web99, tcp: 80}

Good::

    # site.yaml
    name: example
    expect:
      - {from: outside, to: web01, tcp: 80}

Source: an assertion over nothing is always true (https://en.wikipedia.org/wiki/Vacuous_truth).
"""
