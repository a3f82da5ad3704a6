"""What NetworkManager does with its profiles (el9, el10)."""

from __future__ import annotations

from functools import partial

from kvmgen.render.facts.fact import Fact

_DOCS = "https://networkmanager.dev/docs/api/latest"
_KEYFILE = f"{_DOCS}/nm-settings-keyfile.html"

_fact = partial(Fact, file=r"etc/NetworkManager/system-connections/.+\.nmconnection", source=_KEYFILE)

KEYFILES: tuple[Fact, ...] = (
    _fact(
        line="^uuid=",
        reason="made of the host's and the link's name: without one NetworkManager hashes the file's name, and a "
        "renamed file would be another connection",
    ),
    _fact(
        line="^(master|slave-type)=",
        reason="since 1.46 these are called controller and port-type, which older releases drop without a word; all "
        "releases read these",
        source="measured on NetworkManager 1.42",
    ),
    _fact(line="^interface-name=", reason="without it a profile fits any device of its kind"),
    _fact(
        line="^autoconnect-priority=100$",
        reason="ahead of a profile that the installer or somebody left for the same device: those have priority 0",
        source=f"{_DOCS}/settings-connection.html",
    ),
    _fact(
        line="^autoconnect-slaves=1$",
        reason="the ports come up with their bond or bridge, also when it is restarted",
        source=f"{_DOCS}/settings-connection.html",
    ),
    _fact(
        line="^zone=",
        reason="NetworkManager puts a link whose profile names no zone into the default one, whatever the zone's file "
        "says",
        source=f"{_DOCS}/settings-connection.html",
        rules=("KV624", "KV629"),
    ),
    _fact(line="^type=", reason="the kind of device, in NetworkManager's words"),
    _fact(line="^(miimon|mode|[a-z]+_[a-z_]+)=", reason="the kernel's own option; of a mode the name, not its number"),
    _fact(line=r"^id=\d+$", reason="the VLAN's tag; without it the profile isn't valid", rules=("KV220",)),
    _fact(line="^parent=", reason="said outright, because from the name it would be what is before the first dot"),
    _fact(
        line="^stp=false$",
        reason="NetworkManager's bridges have spanning tree unless they say otherwise, and then forward only after "
        "twice the delay",
        source=f"{_DOCS}/settings-bridge.html",
        rules=("KV221",),
    ),
    _fact(
        line="^forward-delay=",
        reason="in whole seconds, 2 to 30: with spanning tree the kernel takes no shorter delay",
        source=f"{_DOCS}/settings-bridge.html",
        rules=("KV223",),
    ),
    _fact(
        line="^mac-address=",
        reason="of a NIC the MAC that it must have; a bridge is pinned to the one it would get from its ports, because "
        "NetworkManager makes its link-local address before the first port is in",
        source=f"{_DOCS}/settings-bridge.html",
    ),
    _fact(line="^id=[^0-9]", reason="what nmcli calls the profile; the device is said by interface-name"),
    _fact(
        line="^method=manual$",
        reason="the addresses that stand here alone: no DHCP, and of IPv6 no heed of router advertisements",
        source=f"{_DOCS}/settings-ipv6.html",
    ),
    _fact(
        line="^method=(auto|dhcp)$",
        reason="auto is DHCP for IPv4; for IPv6 it heeds router advertisements, and dhcp asks without heeding them",
        source=f"{_DOCS}/settings-ipv6.html",
    ),
    _fact(line="^method=disabled$", reason="no address of this IP version: not even a link-local one is waited for"),
    _fact(
        line="^method=link-local$",
        reason="no address beyond the one that every IPv6 link has, and no heed of router advertisements",
        source=f"{_DOCS}/settings-ipv6.html",
    ),
    _fact(
        line="^addr-gen-mode=eui64$",
        reason="the link-local address is the one that follows from the MAC: guests' filters let no other pass, and it "
        "can be known beforehand",
        source=f"{_DOCS}/settings-ipv6.html",
    ),
    _fact(
        line="^ip6-privacy=0$",
        reason="no temporary addresses: a machine is known by the ones that the inventory says",
        source=f"{_DOCS}/settings-ipv6.html",
    ),
    _fact(
        line="^(dhcp|ra)-timeout=",
        reason="never: NetworkManager would take the link down, its guests with it, where no answer comes in time",
    ),
    _fact(line="^required-timeout=", reason="a boot doesn't wait longer for an answer that may never come"),
    _fact(
        line="^never-default=true$",
        reason="the machine has a default route already: the lease's or router's would be a second one",
        rules=("KV104",),
    ),
    _fact(
        line=r"^route\d+=",
        reason="with the metric that `ip route add` would give it: NetworkManager's own depends on the kind of link, "
        "so that another route could win by it",
        rules=("KV103", "KV112", "KV118"),
    ),
    _fact(line=r"^address\d+=", reason="one key for each address, counted from 1", rules=("KV101",)),
    _fact(
        line="^dns=",
        reason="resolvers of one IP version, on a link that has it: elsewhere the profile is refused",
        rules=("KV107", "KV125"),
    ),
    _fact(line="^dns-search=", reason="said once, by the link that names the resolvers", rules=("KV120",)),
    _fact(
        line="^dns-priority=", reason="IPv4's resolvers come first otherwise, and the inventory's first is an IPv6 one"
    ),
    _fact(line="^ignore-auto-dns=true$", reason="the inventory names resolvers: those of a lease are left out"),
    _fact(
        line="^mtu=",
        reason="a bridge follows its smallest port, a tap included, unless it has an MTU of its own",
        source="measured on Linux 6.18",
        rules=("KV224", "KV225", "KV227"),
    ),
    _fact(
        line="^(speed|duplex|auto-negotiate|wake-on-lan|feature-|channels-)",
        reason="the NIC's ethtool options by the settings that NetworkManager has for them",
        source=f"{_DOCS}/settings-ethtool.html",
        rules=("KV233",),
    ),
)
