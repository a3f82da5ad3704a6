"""What the kernel, systemd and udev do with kernel settings."""

from __future__ import annotations

from kvmgen.render.facts.fact import Fact

_SYSCTL = "https://docs.kernel.org/networking/ip-sysctl.html"
_SYSCTL_D = "https://www.freedesktop.org/software/systemd/man/latest/sysctl.d.html"
_FILES = r"etc/sysctl\.(conf|d/.+)"

KERNEL: tuple[Fact, ...] = (
    Fact(
        file=_FILES,
        line=r"^-?net\.bridge\.bridge-nf-call-.* = 1",
        reason="rules of FORWARD and all that nwfilters say of tcp, udp, icmp or all see frames between the ports of a "
        "bridge only with this; with 0 everything passes, and libvirt only logs it",
        source="https://libvirt.org/firewall.html",
        rules=("KV612", "KV613", "KV614", "KV642"),
    ),
    Fact(
        file=_FILES,
        line=r"^-?net\.bridge\.bridge-nf-call-.* = 0",
        reason="frames between the ports of a bridge don't come to iptables; the kernel itself starts with 1, and with "
        "the module's rule this is set again whenever it is loaded",
        source="https://libvirt.org/firewall.html",
        rules=("KV612", "KV613", "KV614", "KV615"),
    ),
    Fact(
        file=_FILES,
        line=r"^-net\.",
        majors=(9, 10),
        reason="the dash lets systemd-sysctl go on where the key doesn't exist, as before br_netfilter is loaded",
        source=_SYSCTL_D,
    ),
    Fact(
        file=r"etc/sysctl\.d/99-zz-kvmgen-bridge\.conf",
        line="^# Frames between",
        reason="of several files the lexically last decides: el7 ships zeros in 00-system.conf, and /etc/sysctl.conf "
        "is read as 99-sysctl.conf",
        source=_SYSCTL_D,
        rules=("KV637",),
    ),
    Fact(
        file=_FILES,
        line=r"^net\.(ipv4\.ip_forward|ipv6\.conf\.all\.forwarding) = 1",
        reason="a network in mode nat, route or open is routed by its host, which forwards nothing without this",
        source=_SYSCTL,
        rules=("KV632", "KV634"),
    ),
    Fact(
        file=r"etc/sysctl\.conf",
        line="^# The distribution's own settings",
        majors=(6,),
        reason="el6 reads this one file, and it is replaced as a whole: what it said before must not get lost",
        source="https://github.com/fedora-sysv/initscripts",
    ),
    Fact(
        file=r"etc/sysctl\.conf",
        line=r"^(kernel\.(sysrq|core_uses_pid|msg|shm)|net\.ipv4\.(tcp_syncookies|conf\.default\.(rp_f|accept_s)))",
        majors=(6,),
        reason="what the distribution's own file sets, unless the inventory says another value",
        source="https://github.com/fedora-sysv/initscripts",
    ),
    Fact(
        file=r"etc/modules-load\.d/kvmgen-bridge\.conf",
        line="^br_netfilter$",
        reason="the keys net.bridge.* don't exist before this module is loaded",
        source="https://www.freedesktop.org/software/systemd/man/latest/modules-load.d.html",
        rules=("KV612", "KV642"),
    ),
    Fact(
        file=r"etc/udev/rules\.d/99-kvmgen-bridge\.rules",
        line="br_netfilter",
        reason="whoever loads the module later (firewalld, libvirt, Docker) gets the kernel's own values, and this "
        "sets the inventory's again",
        source=_SYSCTL_D,
    ),
)
