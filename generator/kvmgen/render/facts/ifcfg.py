"""What initscripts do with ifcfg, route and network files (el6 to el8)."""

from __future__ import annotations

from functools import partial

from kvmgen.render.facts.fact import Fact

_SCRIPTS = "https://github.com/fedora-sysv/initscripts"
_BONDING = "https://docs.kernel.org/networking/bonding.html"
_BRIDGING = "https://docs.kernel.org/networking/bridge.html"

_fact = partial(Fact, file=r"etc/sysconfig/network-scripts/ifcfg-.+", source=_SCRIPTS)

IFCFG: tuple[Fact, ...] = (
    _fact(
        line="^DEVICE=",
        reason="scripts grep these files for DEVICE, comments included, so that it stands once and alone on its line; "
        "the file is called as the device is, for its routes are looked up by either name",
        rules=("KV229",),
    ),
    _fact(
        line="^TYPE=Bridge$",
        reason="the word is compared with its capital: a link of type `bridge` is never made",
        source="measured on network-scripts of el7 and el8",
    ),
    _fact(
        line="^HWADDR=",
        reason="ifup refuses the link where the NIC of this name has another MAC, so that a swapped card is noticed; "
        "only a NIC has one of its own to compare",
    ),
    _fact(
        line="^ONBOOT=yes$", reason="started at boot; to the scripts yes and no are the only words for a truth value"
    ),
    _fact(
        line="^NM_CONTROLLED=no$",
        reason="where NetworkManager runs, ifup hands a link that doesn't say `no` over to it; these files are for "
        "initscripts, and one program owns a link",
    ),
    _fact(
        line="package network-scripts",
        majors=(8,),
        reason="el8's ifup is NetworkManager's unless that package is installed, and then nobody would start a link "
        "that NetworkManager must leave alone",
    ),
    _fact(line="^USERCTL=no$", reason="nobody but root takes the link down"),
    _fact(
        line="^NOZEROCONF=yes$",
        reason="otherwise ifup-eth adds a route to 169.254.0.0/16 through every link, even a bridge without an "
        "address. Only whether there is a value counts: `no` would say the same",
    ),
    _fact(
        line="^IPV6INIT=yes$",
        reason="the default changed from no (el6) to yes (el7), and only where IPv6 is initialised do the scripts "
        "switch router advertisements off",
    ),
    _fact(
        line="^IPV6INIT=no$",
        reason="this link is a port: its addresses are those of the bridge or bond above, and the scripts would ignore "
        "any that stood here",
    ),
    _fact(
        line="^IPV6_AUTOCONF=",
        reason="without it a link takes addresses and a default route from whoever sends router advertisements",
        rules=("KV634",),
    ),
    _fact(
        line="^(STP=no|DELAY=0)$",
        reason="without spanning tree there is no loop to wait for: with a delay, a port would neither learn nor "
        "forward for twice as long, and a guest's first packets would be lost",
        source=_BRIDGING,
        rules=("KV221", "KV223"),
    ),
    _fact(
        line="^STP=yes$",
        reason="the bridge takes part in spanning tree, and a port forwards only after twice the forward delay",
        source=_BRIDGING,
        rules=("KV221", "KV223"),
    ),
    _fact(line="^DELAY=[1-9]", majors=(6, 7), reason="the scripts give this to brctl, in seconds", rules=("KV223",)),
    _fact(
        line="^BRIDGING_OPTS=.*forward_delay=",
        majors=(8,),
        reason="el8's DELAY is in hundredths of a second for `ip link`, but ifup-eth then waits as many whole seconds. "
        "Through sysfs the same script reads it back in the right unit",
        rules=("KV223",),
    ),
    _fact(
        line="^BRIDGE=",
        reason="only the topmost link of a stack (VLAN over bond over NIC) is the bridge's port; once ifup-eth has put "
        "a link into a bridge it reads nothing else of its file",
        rules=("KV217", "KV218"),
    ),
    _fact(
        line="^(MASTER|SLAVE)=",
        reason="the scripts look for `yes` in small letters, and do nothing else with the port of a bond",
        rules=("KV219",),
    ),
    _fact(
        line="^BONDING_OPTS=",
        reason="the kernel takes most options only while the bond has no port, so they all stand here and are set "
        "first; the mode comes before the options that depend on it",
        source=_BONDING,
        rules=("KV203", "KV208", "KV212"),
    ),
    _fact(
        line="^(VLAN=yes|TYPE=Vlan)$", reason="VLAN is compared with `yes` in small letters; TYPE is for NetworkManager"
    ),
    _fact(
        line="^PHYSDEV=",
        reason="initscripts take the parent from what is before the name's last dot, NetworkManager from before the "
        "first",
    ),
    _fact(line="^VLAN_ID=", reason="the tag, for NetworkManager: initscripts read VID", rules=("KV220",)),
    _fact(line="^VID=", reason="the tag, for initscripts: NetworkManager reads VLAN_ID", rules=("KV220",)),
    _fact(
        line="^BOOTPROTO=none$",
        reason="only `dhcp` and `bootp` ask a server; any other word means the addresses that stand here, or none",
    ),
    _fact(
        line="^BOOTPROTO=dhcp$",
        reason="ifup-eth starts a DHCP client and waits for its answer",
    ),
    _fact(
        line="^TYPE=(Ethernet|Bond)$",
        reason="ifup runs the script that is called after the device or its type, and ifup-eth where there is none",
    ),
    _fact(
        line="^IPADDR=",
        reason="the scripts ask by ARP whether somebody else has the address, and leave the link down if so",
        rules=("KV101",),
    ),
    _fact(line="^IPV6ADDR", reason="with its length; the second and later ones stand together in one line"),
    _fact(
        line="^PREFIX",
        reason="where both are there PREFIX wins over NETMASK, so only this one is written",
        source="measured on network-scripts of el7 and el8",
        rules=("KV106",),
    ),
    _fact(line=r"^IPADDR\d", reason="the first address has no number and the next is 1: a file with IPADDR0 loses it"),
    _fact(
        line="^(GATEWAY|METRIC)=",
        reason="ifup-eth sets this default route only where it is in the first address's subnet, and else says "
        "nothing; other routes are in the route file",
        rules=("KV103", "KV104"),
    ),
    _fact(
        line="^IPV6_DEFAULTGW=",
        reason="the scripts' word for the IPv6 default route; behind a link-local gateway they need the device",
        rules=("KV103",),
    ),
    _fact(
        line=r"^(DNS\d|DOMAIN)=",
        reason="resolv.conf is written by one link, the one with the default route: with several, the last to start "
        "would win",
        rules=("KV107", "KV120"),
    ),
    _fact(
        line="^(PEERDNS=no|RESOLV_MODS=yes)$",
        reason="PEERDNS=no keeps a lease's resolvers out, but then ifup-post writes none of the inventory's either "
        "unless RESOLV_MODS asks for it",
    ),
    _fact(
        line="^DEFROUTE=no$",
        reason="the machine has a default route already: the lease's would be a second one",
        rules=("KV104",),
    ),
    _fact(
        line="^ZONE=",
        reason="ifup moves a link whose file names no zone to the default zone, whatever the zone's own file says",
        rules=("KV624", "KV629"),
    ),
    _fact(
        line="^MTU=",
        reason="a bridge follows its smallest port, a tap included, unless it has an MTU of its own",
        source="measured on Linux 6.18",
        rules=("KV224", "KV225", "KV227"),
    ),
    _fact(
        line="^ETHTOOL_OPTS=",
        reason="put behind `ethtool -s DEVICE` by ifup-eth, unless it starts with a dash",
        rules=("KV231",),
    ),
    Fact(
        file=r"etc/sysconfig/network-scripts/route6?-.+",
        line=" via ",
        reason="arguments of `ip route add`: a file with a line ADDRESS0= would be run as a shell script instead",
        source=_SCRIPTS,
        rules=("KV112", "KV118"),
    ),
    Fact(
        file=r"etc/sysconfig/network",
        line="^NETWORKING_IPV6=yes$",
        reason="on el6 no link gets an IPv6 address without this line",
        source=_SCRIPTS,
    ),
    Fact(
        file=r"etc/sysconfig/network",
        line="^HOSTNAME=",
        reason="el6 has no /etc/hostname: this is where the machine's name is read at boot",
        source=_SCRIPTS,
        rules=("KV117",),
    ),
)
