"""What cloud-init does with a seed, and the applier with the manifest."""

from __future__ import annotations

from functools import partial

from kvmgen.render.facts.fact import Fact

_DOCS = "https://docs.cloud-init.io/en/latest/reference"

_network = partial(Fact, file="seed/network-config", source=f"{_DOCS}/network-config-format-v2.html")
_user = partial(
    Fact, file="seed/user-data", source="https://docs.cloud-init.io/en/latest/explanation/format/cloud-config.html"
)
_manifest = partial(Fact, file=r"manifest\.json", source="generator/applier/kvmgen_apply.py")

SEEDS: tuple[Fact, ...] = (
    _network(
        line="^ +match: ",
        reason="a NIC is known by its MAC, whatever the guest's kernel calls it; in quotes and small letters, because "
        "many a MAC is a number to YAML 1.1",
        rules=("KV401",),
    ),
    _network(line="^ +set-name: ", reason="the name that the inventory knows the NIC by"),
    _network(
        line="^ +accept-ra: ",
        reason="said outright: the renderers' defaults differ",
        rules=("KV634",),
    ),
    _network(
        line="^ +gateway[46]: ",
        reason="netplan would rather see a route to `default`, but a cloud-init before 22.4 stops at it and most "
        "renderers make ::/64 of ::/0",
        rules=("KV103", "KV437"),
    ),
    _network(
        line="^ +nameservers: ",
        reason="at one NIC, best one with addresses of its own: renderers forget it beside DHCP alone",
        rules=("KV107",),
    ),
    _network(line="^version: 2", reason="the subset of netplan's format that cloud-init documents"),
    Fact(
        file="seed/meta-data",
        line="^instance-id: ",
        reason="cloud-init takes network and users only for a new instance: the id changes with the network and with "
        "`instance`, and with nothing else",
        source=f"{_DOCS}/datasources/nocloud.html",
    ),
    _user(line="^#cloud-config$", reason="cloud-init reads the data as cloud-config by this very first line"),
    _user(
        line='^manage_etc_hosts: "localhost"',
        reason="the guest knows its own name without asking a resolver",
        source=f"{_DOCS}/modules.html",
    ),
    _user(
        line="^(hostname|fqdn): ", reason="distributions disagree on which of the two is the host's name: both are said"
    ),
    _manifest(
        line='"path": "etc/', reason="copied to / on the host, with this mode, if its content differs from this hash"
    ),
    _manifest(
        line='"path": "libvirt/',
        reason="defined through virsh, and then compared with what libvirt holds; the files under /etc/libvirt are "
        "libvirt's own",
    ),
    _manifest(line='"order": ', reason="in this order kinds are applied, and in the reverse order they are removed"),
)
