"""By which interfaces a packet crosses one machine."""

from __future__ import annotations

from kvmgen.value import value


@value
class Way:
    """The interfaces of a packet that crosses a machine, as ``iptables -i`` and ``-o`` see them; empty for none.

    A bridged frame has the bridge's name as both, and so has what is routed from or to a port of a bridge on that side.
    ``port_in`` and ``port_out`` are the bridge's ports (``physdev``); of a routed packet the kernel knows only the port
    that it came in by, and of a bridged one both.
    """

    incoming: str = ""
    outgoing: str = ""
    bridged: bool = False
    port_in: str | None = None
    port_out: str | None = None
