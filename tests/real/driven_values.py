"""What the strategies know of the site that documents are put into: its names, and values that fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from kvmgen.inventory.filters import ATTRIBUTES
from tests.schema_strategy import Known, Strategy, usually

HOSTS = ("kvm01", "kvm06", "kvm07", "kvm09")


def one_of(*values: Any) -> Strategy:
    return st.sampled_from(values)


_IPV4, _IPV6 = st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str)
_ENDS = one_of(
    *("outside", "host", "guests", "kvm01", "web01", "web01:eth0", "192.0.2.9", "2001:db8::9", "nobody"),
    *({"policy": "few"}, {"policy": "new"}, {"network": "default"}),
)
"""The ends of packets that are expected."""
_COMMON: Mapping[str, Strategy] = {
    "common#ip": usually(
        one_of("192.0.2.254", "192.0.2.53", "198.51.100.254", "2001:db8::1", "2001:db8:1::9", "fe80::1"),
        st.one_of(_IPV4, _IPV6),
    ),
    "common#address": usually(
        one_of("198.51.100.1/24", "203.0.113.7/28", "10.9.0.1/16", "2001:db8:1::1/64", "192.0.2.77/24", "fe80::7/64"),
        st.builds("{}/{}".format, _IPV4, st.integers(8, 32)) | st.builds("{}/{}".format, _IPV6, st.integers(8, 128)),
    ),
    "common#segment": usually(
        one_of("198.51.100.0/24", "203.0.113.0/28", "2001:db8:2::/64", "192.0.2.64/26"),
        st.builds("{}/32".format, _IPV4) | st.builds("{}/128".format, _IPV6),
    ),
    "common#address-range": one_of(
        "198.51.100.100-198.51.100.200", "198.51.100.9 - 198.51.100.20", "2001:db8:1::100-2001:db8:1::1ff"
    ),
    "common#port-range": one_of("1024-65535", "40000-40009"),
    "common#mac": one_of("52:54:00:24:4c:ee", "52:54:00:AA:BB:CC", "00:16:3e:00:00:01"),
    "common#mtu": one_of(1280, 1400, 1500, 9000),
    "common#domain": one_of("example.org", "lab.example.org", "www", "a-b.example.net"),
    "common#memory": one_of("512 MiB", "1 GiB", "2048 MiB", "524288 KiB"),
    "common#zone": one_of("public", "dmz", "internal"),
    "common#vlan-tags": one_of(7, {"tags": [7]}, {"tags": [7, 11], "native": 11}, {"tags": [7], "trunk": True}),
    "common#packet-end": _ENDS,
    "common#uuid": one_of("1c3384c7-093a-5689-2cf3-320ef716ba2e", "00000000-0000-4000-8000-000000000001"),
}
_SYSCTL = {
    "KEY": one_of(
        "net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "net/ipv4/conf/eno1.7/rp_filter", "kernel.panic"
    ),
    "*": one_of(0, 1, 2, "1", "4096 87380 6291456"),
}

_LINKS = one_of("eno1", "eno2", "bond0", "bond0.7", "br0")
_DEFAULT = {"to": "default", "via": "198.51.100.254"}
_FAR = {"to": "10.0.0.0/8", "via": "198.51.100.9", "metric": 50}
_FAR6, _DEFAULT6 = {"to": "2001:db8:9::/48", "via": "2001:db8:1::9"}, {"to": "default", "via": "fe80::1"}
_ROUTES = one_of([_DEFAULT], [_FAR], [_DEFAULT, _FAR, _FAR6, _DEFAULT6], [_FAR6], [_FAR, _DEFAULT6], [])
_SEVERAL = ["198.51.100.1/24", "203.0.113.7/28", "2001:db8:1::1/64"]
_LINK_ADDRESSES = one_of(_SEVERAL, _SEVERAL, ["198.51.100.1/24"], ["2001:db8:1::1/64"], [])


@st.composite
def _rules(draw: st.DrawFn) -> str:
    """Words that iptables may take behind a chain's name."""
    parts = [
        st.sampled_from(("", "", "", "-i eno1", "-o eno1", "! -i lo", "-i br0 -o br0")),
        st.sampled_from(("", "", "-s 192.0.2.0/24", "! -d 192.0.2.9", "-s 2001:db8::/64", "-d 192.0.2.9-192.0.2.20")),
        st.sampled_from(
            ("", "-p tcp --dport 25", "-p udp --sport 1024:65535", "-p icmp", "-p tcp -m multiport --dports 22,80")
        ),
        st.sampled_from(
            ("", "", "-m physdev --physdev-is-bridged", "-m state --state NEW", "-m conntrack --ctstate RELATED")
        ),
        st.sampled_from(("", '-m comment --comment "two words"', "-m limit --limit 5/min")),
        st.sampled_from(
            ("-j ACCEPT", "-j DROP", "-j DROP", "-j REJECT", "-j own", "-j LOG", "-j MASQUERADE", "-j RETURN", "-g own")
        ),
    ]
    return " ".join(part for part in map(draw, parts) if part)


_POLICY_ZONES = one_of(["public"], ["public", "dmz"], ["internal"], ["ANY"], ["HOST"], ["HOST", "dmz"])


@st.composite
def _rich_rules(draw: st.DrawFn) -> dict[str, Any]:
    """Rules that firewalld may take."""
    parts: list[dict[str, Any]] = [
        {"action": draw(one_of("accept", "drop", "reject"))},
        draw(one_of({}, {"family": "ipv6"}, {"source": "192.0.2.0/24"}, {"destination": "2001:db8::/64"})),
        draw(
            one_of(
                {"service": "ssh"}, {"service": "mdns"}, {"port": "8080-8089/tcp"}, {"icmp-type": "echo-request"}, {}
            )
        ),
        draw(one_of({}, {}, {"log": {"prefix": "told: ", "level": "info"}}, {"log": {}}, {"priority": -7})),
    ]
    return {key: value for part in parts for key, value in part.items()}


_HOST: Mapping[str, Strategy] = {
    "host/hostname": one_of("new.example.org", "new"),
    "host/management": _LINKS,
    "host/memory": one_of("64 GiB", "8192 MiB"),
    "host/ethernets/KEY": one_of("eno1", "eno2", "ens1f0", "em1"),
    "host/ethernets/*/ethtool": one_of("speed 1000 duplex full autoneg off", "autoneg on"),
    "host/bonds/KEY": one_of("bond0", "bond1"),
    "host/bonds/*/ports": one_of(["eno1"], ["eno1", "eno2"], ["ens1f0"]),
    "host/bonds/*/mode": one_of("active-backup", "balance-xor", "802.3ad", "balance-rr"),
    "host/bonds/*/miimon": one_of(100),
    "host/bonds/*/updelay": one_of(200),
    "host/bonds/*/downdelay": one_of(0, 100),
    "host/bonds/*/primary": one_of("eno1"),
    "host/vlans/KEY": one_of("eno1.7", "bond0.7", "eno2.8"),
    "host/bridges/KEY": one_of("br0", "br1", "lan"),
    "host/bridges/*/ports": one_of([], ["eno1"], ["eno2"], ["bond0"], ["bond0.7"]),
    "host/bridges/*/segment": one_of("lan", "dmz"),
    **{f"host/{kind}/*/addresses": _LINK_ADDRESSES for kind in ("ethernets", "bonds", "vlans", "bridges")},
    **{f"host/{kind}/*/routes": _ROUTES for kind in ("ethernets", "bonds", "vlans", "bridges")},
    **{f"host/sysctl/{key}": values for key, values in _SYSCTL.items()},
    "host/firewall/direct/0/rule": _rules(),
    "host/firewall/direct/0/chain": one_of("INPUT", "INPUT", "FORWARD", "FORWARD", "OUTPUT", "POSTROUTING", "own"),
    "host/firewall/direct/0/table": one_of("filter", "filter", "filter", "mangle", "nat"),
    "host/firewall/chains": one_of([{"family": "both", "chain": "own"}]),
    "host/firewall/zones/*/services/0": one_of("ssh", "http", "dns", "https", "our-own"),
    "host/firewall/zones/*/ports/0": one_of("22/tcp", "5900-5999/tcp", "53/udp"),
    "host/firewall/policies/KEY": one_of("in", "out", "lan-dmz"),
    "host/firewall/policies/*/ingress-zones": _POLICY_ZONES,
    "host/firewall/policies/*/egress-zones": _POLICY_ZONES,
    "host/firewall/policies/*/services/0": one_of("ssh", "http", "dns"),
    "host/firewall/policies/*/ports/0": one_of("22/tcp", "5900-5999/tcp"),
    "common#firewall-rules": st.lists(_rich_rules(), max_size=3),
}

_LEASES = one_of(
    {"mac": "52:54:00:24:4c:ee", "address": "198.51.100.30"},
    {"mac": "52:54:00:24:4c:ef", "name": "printer", "address": "198.51.100.31"},
    {"name": "printer6", "address": "2001:db8:1::30"},
    {"id": "00:03:00:01:52:54:00:24:4c:ee", "address": "2001:db8:1::31"},
)
_NETWORK: Mapping[str, Strategy] = {
    "network/hosts": st.dictionaries(
        one_of(*HOSTS), one_of({}, {}, {"autostart": False}, {"bridge": {"name": "virbr7"}}), min_size=1, max_size=2
    ),
    "network/hosts/KEY": one_of(*HOSTS),
    "network/isolation": one_of("guests", "groups"),
    "network/forward": one_of("nat", "route", "open", "isolated", "bridge"),
    "network/devices": one_of(["eno2"], ["eno2", "br0"], ["br1"]),
    "network/pf": one_of("eno1", "eno2"),
    "network/pci-addresses": one_of(["0000:07:10.0"], ["0000:07:10.0", "0001:81:1f.7"]),
    "network/segment": one_of("lan", "dmz"),
    "network/uuid": one_of("1c3384c7-093a-5689-2cf3-320ef716ba2e"),
    "network/libvirt-name": one_of("new", "lab", "net.1"),
    "network/forward-dev": one_of("eno1", "eno2", "br0"),
    "network/bridge/name": one_of("virbr5", "virbr6", "br1"),
    "network/addresses": one_of(
        ["198.51.100.1/24"], ["198.51.100.1/24", "2001:db8:1::1/64"], ["2001:db8:1::1/64"], ["10.9.0.1/16"]
    ),
    "network/dhcp/hosts/0": _LEASES,
    "network/dhcp/bootp/file": one_of("pxelinux.0"),
    "network/dhcp/tftp": one_of("/srv/tftp"),
    "network/routes/0": one_of(
        {"to": "10.0.0.0/8", "via": "198.51.100.9"}, {"to": "2001:db8:9::/48", "via": "2001:db8:1::9", "metric": 2}
    ),
    "network/nat/addresses": one_of("203.0.113.1-203.0.113.9"),
    "network/portgroups/KEY": one_of("gold", "closed", "p-1"),
}

_GUEST: Mapping[str, Strategy] = {
    "guest/hosts": one_of(*([name] for name in HOSTS), ["kvm07", "kvm01"]),
    "guest/profile": one_of("small"),
    "guest/machine": one_of("pc-q35-rhel8.6.0", "pc-i440fx-rhel7.6.0", "rhel6.6.0", "pc-q35-rhel9.4.0"),
    "guest/vcpus": one_of(1, 2, 4),
    "guest/cpu/topology": one_of({"sockets": 1, "cores": 1, "threads": 1}, {"sockets": 1, "cores": 2, "threads": 1}),
    "guest/platform": one_of("el6", "el7", "el8", "el8.6", "el9"),
    "guest/cloud-init": one_of(
        {}, {"instance": 2}, {"user-data": {"runcmd": [["touch", "/run/yes"], "echo on"], "timezone": "UTC"}}
    ),
    "guest/cloud-init/user-data/KEY": one_of("packages", "runcmd", "timezone", "motd"),
    "guest/graphics/1/listen": one_of("127.0.0.1", "::1"),
    "guest/disks/KEY": one_of("vda", "vdb", "sda", "hda", "hdc", "fda"),
    "guest/disks/*/file": one_of("/srv/images/new.qcow2", "/srv/two words & <more>.img"),
    "guest/disks/*/dev": one_of("/dev/vg0/new"),
    "guest/disks/*/volume": one_of("new.qcow2"),
    "guest/interfaces/KEY": one_of("eth0", "eth1", "eth2", "ens3"),
    "guest/interfaces/*/network": one_of("default", "default", "lan"),
    "guest/interfaces/*/portgroup": one_of("gold", "closed"),
    "guest/interfaces/*/bridge": one_of("br0", "br1"),
    "guest/interfaces/*/addresses": one_of(
        ["192.168.122.20/24"], ["192.168.122.21/24", "192.168.122.22/24"], ["192.0.2.30/24", "2001:db8::30/64"], []
    ),
    "guest/interfaces/*/routes": one_of([], [{"to": "default", "via": "192.168.122.1"}]),
    "guest/interfaces/*/filter": one_of(
        "clean-traffic", "kvmgen-anti-spoofing", {"name": "web", "parameters": {"PORTS": ["22", "80"]}}
    ),
    "guest/interfaces/*/policies": one_of(["few"]),
    "guest/interfaces/*/target": one_of("tap-new", "new0"),
    "guest/interfaces/*/isolation-group": one_of("shop", "back-office"),
    "guest/interfaces/*/pci": one_of("00:03.0", "00:10.0", "01:00.0", "02:00.0"),
    **{f"guest/sysctl/{key}": values for key, values in _SYSCTL.items()},
}

_SITE: Mapping[str, Strategy] = {
    "site/profiles/KEY": one_of("small", "large"),
    "site/defaults/hosts/platform": one_of("el8", "el9.4"),
    **{f"site/defaults/hosts/sysctl/{key}": values for key, values in _SYSCTL.items()},
    **{
        f"site/{place}/{way.removeprefix('guest/')}": values
        for way, values in _GUEST.items()
        for place in ("defaults/guests", "profiles/*")
        if way.split("/")[1] in ("machine", "vcpus", "cpu", "platform", "sysctl", "cloud-init")
    },
}

VARIABLES: Mapping[str, Any] = {
    "PORTS": ["22", "80"],
    "ADDR": "192.0.2.7",
    "ADDR6": ["2001:db8::7", "2001:db8::8"],
    "MASK": "24",
    "PEER": "52:54:00:00:00:07",
}
"""The variables of generated filters beside kvmgen's own (IP, IPV6, MAC), and what their user gives for them."""

_FILTER: Mapping[str, Strategy] = {
    "filter/chain": one_of("root", "root", "mac", "vlan", "stp", "arp-own", "rarp", "ipv4", "ipv6-own"),
    "filter/rules/0/then/filter": one_of("clean-traffic", "kvmgen-anti-spoofing", "kvmgen-neighbour-discovery", "web"),
    "filter/rules/0/then/parameters": one_of({}, {"PORTS": ["22", "80"]}, {"IP": "192.0.2.7"}),
    "filter/rules/0/else/priority": st.integers(-1000, 1000),
    "filter#uint16": one_of(22, 80, 443, 1024, 65535, "0x50", "$PORTS", "$PORTS[@1]"),
    "filter#connlimit-above": one_of(1, 2, 10),
    "filter#ipv4": one_of("192.0.2.9", "198.51.100.20", "$IP", "$ADDR"),
    "filter#ipv6": one_of("2001:db8::9", "fe80::1", "::", "$IPV6", "$ADDR6", "$ADDR6[@2]"),
    "filter#ipv4-mask": one_of(24, 32, "255.255.255.0", "$MASK"),
    "filter#ipv6-mask": one_of(64, 128, "ffff:ffff::", "$MASK"),
    "filter#mac": one_of("52:54:00:24:4c:ee", "ff:ff:ff:ff:ff:ff", "$MAC", "$PEER"),
    **dict.fromkeys(("filter#srcmacmask", "filter#dstmacmask"), one_of("ff:ff:ff:ff:ff:ff", "ff:ff:ff:00:00:00")),
    "filter#ipset": one_of("friends", "a set"),
    "filter#ipv6-dstipto": one_of("$ADDR6"),
}

_SERVICE_LINES = st.lists(
    one_of(
        *("dns", "ping", "ssh", "anything", {"tcp": 22}, {"tcp": [80, "8000-8010"], "family": "ipv6"}),
        *({"udp": "500-600"}, {"icmp": "echo-request"}, {"icmpv6": "redirect"}, {"tcp": 25, "connections": 3}),
    ),
    max_size=4,
)
_POLICY_PEERS = one_of(
    *("host", "anyone", "192.0.2.9", "198.51.100.0/24", "2001:db8::/32", {"guest": "web01"}, {"network": "default"}),
    *({"policy": "new"}, ["host", "10.0.0.0/8", "2001:db8:1::9", {"network": "lan"}]),
)
_POLICY: Mapping[str, Strategy] = {
    "policy/allow-in": _SERVICE_LINES,
    "policy/allow-out": _SERVICE_LINES,
    "policy/allow-in/0/1/from": _POLICY_PEERS,
    "policy/allow-out/0/1/to": _POLICY_PEERS,
}

KNOWN = Known(
    values={**_COMMON, **_HOST, **_NETWORK, **_GUEST, **_FILTER, **_SITE, **_POLICY},
    wanted={
        "site": [("defaults",), ("profiles",), ("defaults", "profiles")],
        "site/defaults": [("hosts", "guests"), ("guests",)],
        **{
            place: [("memory", "current-memory"), ("cpu", "vcpus"), ("platform", "dns"), ("graphics", "video"), ()]
            for place in ("site/defaults/guests", "site/profiles/*")
        },
        "host": [
            ("ethernets", "bridges"),
            ("ethernets", "bonds"),
            ("ethernets", "vlans"),
            ("ethernets", "firewall"),
            ("bridges", "firewall", "sysctl"),
            ("firewall",),
        ],
        "host/ethernets/*": [(), (), ("addresses",), ("addresses", "routes")],
        "host/bonds/*": [("miimon",), ("miimon", "addresses"), ("miimon", "addresses", "routes")],
        "host/vlans/*": [(), ("addresses",), ("addresses", "routes")],
        "host/bridges/*": [
            ("ports",),
            ("ports", "isolation"),
            ("addresses",),
            ("ports", "addresses"),
            ("ports", "addresses", "routes"),
        ],
        "host/firewall": [("direct",), ("chains", "direct"), ("zones",), ("policies",), ("zones", "policies")],
        "network": [
            *(("bridge", "addresses"), ("bridge", "addresses", "dhcp"), ("bridge",)),
            ("bridge", "addresses", "isolation"),
        ],
        "network/bridge": [("name",)],
        "guest": [
            *(("interfaces",), ("disks",), ("interfaces", "disks")),
            *(("interfaces", "platform"), ("interfaces", "cloud-init")),
        ],
        "guest/disks/*": [("file",), ("dev",), ("volume",)],
        "guest/interfaces/*": [("network",), ("bridge",), ("network", "addresses"), ("bridge", "addresses", "routes")],
        "filter/rules/0/else": [(protocol,) for protocol in ATTRIBUTES],
        "policy": [("allow-in",), ("allow-out",), ("allow-in", "allow-out")],
        **{
            f"policy/{way}": [(what,) for what in ("tcp", "udp", "icmp", "icmpv6", "service")]
            for way in ("allow-in/0/1", "allow-out/0/1")
        },
    },
    either={
        "guest": [("cloud-init", "sysctl"), ("cloud-init", "firewall")],
        "guest/disks/*": [("file", "dev", "volume"), ("file", "pool"), ("dev", "pool"), ("dev", "format")],
        "guest/interfaces/*": [
            *(("network", "bridge"), ("bridge", "portgroup"), ("filter", "anti-spoofing"), ("filter", "policies")),
            *(("isolation-group", "target"), ("isolation-group", "isolated")),
        ],
        "network": [("isolation", "isolated-ports")],
        **{
            f"{kind}/expect/0": [
                *(("tcp", "udp", "icmp", "icmpv6", "spoof"), ("only-from", "from", "spoof")),
                *(("only-from", "verdict"), ("spoof", "to")),
            ]
            for kind in ("policy", "site")
        },
    },
)
