"""Fragments on their way: where a machine tracks connections, it puts them together before its packet filter sees them.

A bridge that calls iptables does so for what it passes on as well, and sends it out in fragments again; of a packet
that never becomes whole nothing comes out. Where it doesn't call iptables, each fragment goes its own way.
"""

from __future__ import annotations

from kvmgen.reachability.consumers import Consumers
from kvmgen.reachability.topology import Machine

_TRACKING = ("-m state", "-m conntrack", "--ctstate", "--state", "-m connlimit", "*nat", "-t nat")


def put_together(consumers: Consumers, machine: Machine, version: int) -> bool | None:
    """Whether a machine puts together what crosses its bridges; ``None`` where no file says whether it tracks.

    Connection tracking starts with the first rule that asks for it, of whomever that is.
    """
    filter_ = consumers.inside(machine)
    if not filter_.settings.calls_iptables(version).on:
        return False
    if filter_.runs_firewalld or any(network.has_state(version) for network in filter_.networks):
        return True
    return True if _asks(consumers, machine, version) else None


def _asks(consumers: Consumers, machine: Machine, version: int) -> bool:
    """Whether a rule of the machine's own iptables, or of a guest's nwfilter, asks for a connection's state."""
    command = "iptables" if version == 4 else "ip6tables"
    own = machine.folder.files.get(f"{machine.folder.root(machine.inside)}etc/sysconfig/{command}", "")
    if any(word in own for word in _TRACKING):
        return True
    bound = (consumers.on_tap(tap) for tap in machine.taps)
    rules = (rule for filter_ in bound if filter_ is not None for rule in filter_.rules())
    return any(rule.startswith(f"{command} ") and any(word in rule for word in _TRACKING) for rule in rules)
