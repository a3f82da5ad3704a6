"""What firewalld, iptables-restore and nftables do with their files."""

from __future__ import annotations

from functools import partial

from kvmgen.render.facts.fact import Fact

_MAN = "https://firewalld.org/documentation/man-pages"
_POLICY = "https://manpages.debian.org/testing/firewalld/firewalld.policy.5.en.html"
_EXTENSIONS = "https://man7.org/linux/man-pages/man8/iptables-extensions.8.html"
_NFT = "https://wiki.nftables.org/wiki-nftables/index.php"
_MEASURED = "measured on firewalld 1.3"

_direct = partial(Fact, file=r"etc/firewalld/direct\.xml", source=f"{_MAN}/firewalld.direct.html")
_zone = partial(Fact, file=r"etc/firewalld/(zones|policies)/.+\.xml", source=f"{_MAN}/firewalld.zone.html")
_nft = partial(
    Fact, file=r"etc/nftables/kvmgen\.nft", source="https://www.netfilter.org/projects/nftables/manpage.html"
)
_iptables = partial(
    Fact, file=r"etc/sysconfig/ip6?tables", source="https://man7.org/linux/man-pages/man8/iptables-restore.8.html"
)

FIREWALLS: tuple[Fact, ...] = (
    _direct(
        line="<rule ipv='ipv6'",
        reason="a rule for one IP version says nothing of the other, which would stay open",
        rules=("KV605", "KV620"),
    ),
    _direct(
        line="table='mangle' chain='FORWARD'",
        reason="table mangle is passed before table filter, where libvirt's own accepts stand above all others: a drop "
        "there would be passed by",
        source="measured on libvirt 9.0 and both backends of firewalld 1.3",
        rules=("KV616", "KV618"),
    ),
    _direct(
        line="--physdev-is-bridged.* ! --physdev-in",
        reason="the uplink is a port of the same bridge: without leaving it out, guests would be cut from it as well",
        source=_EXTENSIONS,
        rules=("KV619",),
    ),
    _direct(
        line="--physdev-is-bridged -j ACCEPT",
        reason="where iptables sees bridged frames, firewalld rejects what nothing accepts; zones don't forward there "
        "yet",
        source=_MEASURED,
        rules=("KV601",),
    ),
    _direct(
        line="priority='-?[0-9]+'",
        reason="the lowest is asked first; rules of one priority have no order. One that iptables refuses takes all "
        "direct rules of the file with it",
        rules=("KV602", "KV603", "KV604"),
    ),
    _direct(
        line="<chain ",
        reason="chains stand first: a rule that jumps to one which isn't there yet would fail the whole file",
        rules=("KV607", "KV608"),
    ),
    _zone(
        line="<forward/>",
        reason="lets the zone's own members reach each other, since firewalld 0.9: without it frames between the "
        "guests of a bridge are rejected where iptables sees them",
        rules=("KV601", "KV623"),
    ),
    _zone(
        line="<interface ",
        reason="beside the link's own file, which names the zone too: each moves a link whose other file says nothing "
        "to the default zone",
        rules=("KV624", "KV627"),
    ),
    _zone(
        line="<service name='ssh'",
        reason="the way in for administrators stays open where the zone is a link's that has the host's addresses",
        rules=("KV628", "KV629"),
    ),
    _zone(line="<service ", reason="opened by the name that firewalld gives to its ports", rules=("KV690",)),
    _zone(line="<port ", reason="opened for both IP versions", rules=("KV625",)),
    _zone(
        line="target='DROP'",
        reason="what no line of it lets pass is dropped without an answer",
        rules=("KV628",),
    ),
    _zone(
        line="<short>",
        reason="firewalld shows it beside the name, and writes it back",
    ),
    _zone(
        line="<description>",
        reason="who is in the zone and what it is open for; firewalld does nothing with it",
    ),
    _zone(
        line="<(ingress|egress)-zone ",
        reason="a policy judges what goes from the ones to the others; HOST is the machine, ANY every zone",
        source=_POLICY,
        rules=("KV640",),
    ),
    _zone(
        line="<policy .*priority='-",
        reason="a negative priority comes before the zones' own rules, which it could not overrule otherwise",
        source=_POLICY,
    ),
    _zone(
        line="<masquerade/>",
        reason="what leaves gets the machine's own address; libvirt does that itself for its networks",
        rules=("KV631",),
    ),
    _zone(
        line="<rule( |>)",
        reason="a rich rule: of one priority firewalld asks those that log first, then those that deny, then others",
        source=f"{_MAN}/firewalld.richlanguage.html",
        rules=("KV641",),
    ),
    Fact(
        file=r"etc/firewalld/firewalld\.conf",
        line="^IPv6_rpfilter=",
        reason="firewalld drops an IPv6 packet whose source has no route back by where it came in: with bridge "
        "netfilter that is every frame of a guest on a bridge where the host has no route to its subnet",
        source=_MEASURED,
        rules=("KV638",),
    ),
    Fact(
        file=r"etc/firewalld/firewalld\.conf",
        line="^(DefaultZone|FirewallBackend)=",
        reason="the file replaces the distribution's, whose other settings are firewalld's defaults anyway",
        source="https://firewalld.org/documentation/man-pages/firewalld.conf.html",
    ),
    _iptables(
        line="^:",
        reason="a chain with what becomes of a packet that no rule decides; every chain of a table is named, because "
        "loading replaces the table",
    ),
    _iptables(line=r"^\*|^COMMIT$", reason="a table is replaced as a whole when its COMMIT is read"),
    _iptables(
        line="^-A ",
        reason="in the order of the priorities, chain by chain: the first that decides ends it",
        rules=("KV602", "KV606", "KV609", "KV620"),
    ),
    _nft(
        line="^(table bridge kvmgen|delete table bridge kvmgen)$",
        reason="added so that there is one to delete, and made anew: the file as a whole is one transaction, at any "
        "time",
    ),
    _nft(
        line="type filter hook",
        reason="a chain of its own at the bridge's hook: a frame must pass every such chain, so that nothing accepted "
        "elsewhere overrules a drop here",
        source=f"{_NFT}/Netfilter_hooks",
    ),
    _nft(
        line="meta ibrname .*ifname != ",
        reason="a frame that neither comes from one of the bridge's own ports nor goes to one is between guests",
        source=f"{_NFT}/Matching_packet_metainformation",
        rules=("KV643", "KV644"),
    ),
    _nft(
        line="daddr .* drop$",
        reason="the network's ports are isolated by libvirt: this stops the host from routing between them what they "
        "can't send each other",
        rules=("KV644",),
    ),
    Fact(
        file=r"etc/systemd/system/.+\.service\.d/kvmgen-nftables\.conf",
        line="^ExecStartPre=",
        reason="the table is loaded before the daemon that starts guests, and where it can't be, no guest starts "
        "unprotected",
        source="https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html",
    ),
)
