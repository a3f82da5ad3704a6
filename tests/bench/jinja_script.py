"""What a team would write instead: load the YAML, fill in templates, write the files. No checks, no manifest.

``python jinja_script.py INVENTORY OUTPUT``. It writes the files that kvmgen writes for a synthetic site, with the same
content but for derived UUIDs' and MACs' values.
"""

from __future__ import annotations

import sys
import uuid
import zlib
from pathlib import Path
from typing import Any

import yaml
from jinja2 import DictLoader, Environment

LINK = """\
DEVICE={{ name }}
TYPE={{ type }}
{%- if link.mac %}
HWADDR={{ link.mac }}
{%- endif %}
{%- if link.mode %}
BONDING_MASTER=yes
BONDING_OPTS="mode={{ link.mode }} miimon={{ link.miimon }}"
{%- endif %}
{%- if link.id %}
VLAN=yes
PHYSDEV={{ link.parent }}
VLAN_ID={{ link.id }}
VID={{ link.id }}
{%- endif %}
{%- if type == "Bridge" %}
STP=no
DELAY=0
{%- endif %}
ONBOOT=yes
NM_CONTROLLED=no
USERCTL=no
{%- if bridge %}
BRIDGE={{ bridge }}
{%- endif %}
{%- if bond %}
MASTER={{ bond }}
SLAVE=yes
{%- endif %}
BOOTPROTO=none
{%- for address in link.addresses %}
IPADDR={{ address.split("/")[0] }}
PREFIX={{ address.split("/")[1] }}
{%- endfor %}
{%- for route in link.routes if route.to == "default" %}
GATEWAY={{ route.via }}
DNS1={{ host.dns.servers[0] }}
DOMAIN={{ host.dns.search[0] }}
{%- endfor %}
{%- if bridge or bond %}
IPV6INIT=no
{%- else %}
NOZEROCONF=yes
IPV6INIT=yes
IPV6_AUTOCONF=no
{%- endif %}
"""

NETWORK = """\
<network>
  <name>{{ name }}</name>
  <uuid>{{ uuid("network", host, name) }}</uuid>
  {%- if network.forward == "nat" %}
  <forward mode='nat'/>
  {%- endif %}
  <bridge name='{{ network.bridge.name }}' stp='on' delay='0'/>
  <mac address='{{ mac("network", host, name) }}'/>
  <dns>
    {%- for lease in leases %}
    <host ip='{{ lease.ip }}'>
      <hostname>{{ lease.name }}</hostname>
    </host>
    {%- endfor %}
  </dns>
  {%- for address in network.addresses %}
  <ip address='{{ address.split("/")[0] }}' netmask='255.255.255.0'>
    <dhcp>
      {%- for range in network.dhcp.ranges %}
      <range start='{{ range.split("-")[0] }}' end='{{ range.split("-")[1] }}'/>
      {%- endfor %}
      {%- for lease in leases %}
      <host mac='{{ lease.mac }}' name='{{ lease.name }}' ip='{{ lease.ip }}'/>
      {%- endfor %}
    </dhcp>
  </ip>
  {%- endfor %}
</network>
"""

FILTER = """\
<filter name='{{ name }}' chain='{{ filter.chain }}'>
  <uuid>{{ uuid("filter", name) }}</uuid>
  {%- for rule in filter.rules %}
  {%- if rule.filter %}
  <filterref filter='{{ rule.filter }}'/>
  {%- else %}
  <rule action='{{ rule.action }}' direction='{{ rule.direction }}' priority='{{ rule.priority }}'>
    {%- for key, match in rule.items() if key not in ("action", "direction", "priority") %}
    <{{ key }}{% for name, value in match.items() %} {{ name }}='{{ value }}'{% endfor %}/>
    {%- endfor %}
  </rule>
  {%- endif %}
  {%- endfor %}
</filter>
"""

DOMAIN = """\
<domain type='kvm'>
  <name>{{ name }}</name>
  <uuid>{{ uuid("guest", name) }}</uuid>
  <memory unit='KiB'>{{ memory }}</memory>
  <currentMemory unit='KiB'>{{ memory }}</currentMemory>
  <vcpu placement='static'>{{ guest.vcpus }}</vcpu>
  <os>
    <type arch='x86_64' machine='pc-i440fx-rhel7.0.0'>hvm</type>
    <boot dev='hd'/>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <cpu mode='host-model' check='partial'/>
  <clock offset='utc'>
    <timer name='rtc' tickpolicy='catchup'/>
    <timer name='pit' tickpolicy='delay'/>
    <timer name='hpet' present='no'/>
  </clock>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/libexec/qemu-kvm</emulator>
    {%- for target, disk in guest.disks.items() %}
    <disk type='volume' device='disk'>
      <driver name='qemu' type='qcow2'{% if disk.cache %} cache='{{ disk.cache }}'{% endif %}
      {%- if disk.discard %} discard='{{ disk.discard }}'{% endif %}/>
      <source pool='{{ disk.pool }}' volume='{{ disk.volume }}'/>
      <target dev='{{ target }}' bus='virtio'/>
    </disk>
    {%- endfor %}
    <controller type='usb' index='0' model='piix3-uhci'/>
    <controller type='virtio-serial' index='0'/>
    {%- for nic, said in guest.interfaces.items() %}
    <interface type='{{ "network" if said.network else "bridge" }}'>
      <mac address='{{ mac("guest", name, nic) }}'/>
      {%- if said.network %}
      <source network='{{ said.network }}'/>
      {%- else %}
      <source bridge='{{ said.bridge }}'/>
      {%- endif %}
      <model type='virtio'/>
      <filterref filter='{{ said.filter }}'>
        <parameter name='CTRL_IP_LEARNING' value='none'/>
        {%- for address in said.addresses %}
        <parameter name='IP' value='{{ address.split("/")[0] }}'/>
        {%- endfor %}
      </filterref>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x1{{ loop.index0 }}' function='0x0'/>
    </interface>
    {%- endfor %}
    <serial type='pty'>
      <target port='0'/>
    </serial>
    <console type='pty'>
      <target type='serial' port='0'/>
    </console>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <memballoon model='virtio'/>
  </devices>
</domain>
"""

DIRECT = """\
<?xml version="1.0" encoding="utf-8"?>
<direct>
  {%- for bridge in bridges %}
  {%- for family in ("ipv4", "ipv6") %}
  <rule ipv='{{ family }}' table='filter' chain='FORWARD' priority='10000'>-i {{ bridge }} -o {{ bridge }} \
-m physdev --physdev-is-bridged -j ACCEPT</rule>
  {%- endfor %}
  {%- endfor %}
</direct>
"""

STATIC = {
    "etc/modules-load.d/bridge.conf": "br_netfilter\n",
    "etc/sysctl.d/90-forward.conf": "net.ipv4.ip_forward = 1\n",
    "etc/sysctl.d/99-zz-bridge.conf": "".join(
        f"net.bridge.bridge-nf-call-{word} = 1\n" for word in ("ip6tables", "iptables", "arptables")
    ),
    "etc/udev/rules.d/99-bridge.rules": 'ACTION=="add", SUBSYSTEM=="module", KERNEL=="br_netfilter", '
    'RUN+="/usr/lib/systemd/systemd-sysctl --prefix=/net/bridge"\n',
}
TYPES = {"ethernets": "Ethernet", "bonds": "Bond", "vlans": "Vlan", "bridges": "Bridge"}
UNITS = {"MiB": 1024, "GiB": 1024 * 1024}


def derived_uuid(*names: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(names)))


def derived_mac(*names: str) -> str:
    digits = f"{zlib.crc32('/'.join(names).encode()):08x}"
    return "52:54:" + ":".join(digits[place : place + 2] for place in range(0, 8, 2))


def load(folder: Path) -> dict[str, Any]:
    return {path.stem: yaml.load(path.read_text(), yaml.CSafeLoader) for path in sorted(folder.glob("*.yaml"))}


def main(inventory: Path, output: Path) -> None:
    environment = Environment(
        loader=DictLoader({"link": LINK, "network": NETWORK, "filter": FILTER, "domain": DOMAIN, "direct": DIRECT}),
        auto_reload=False,
    )
    environment.globals.update(uuid=derived_uuid, mac=derived_mac)
    template = environment.get_template
    hosts, networks = load(inventory / "hosts"), load(inventory / "networks")
    guests, filters = load(inventory / "guests"), load(inventory / "filters")
    at_home: dict[str, dict[str, Any]] = {name: {} for name in hosts}
    for name, guest in guests.items():
        at_home[guest["hosts"][0]][name] = guest
    for host, said in hosts.items():
        own = at_home[host]
        files = dict(STATIC)
        files |= links(template("link"), said)
        nics = [(name, nic, port) for name, guest in own.items() for nic, port in guest["interfaces"].items()]
        bridges = sorted({port["bridge"] for _, _, port in nics if "bridge" in port})
        files["etc/firewalld/direct.xml"] = template("direct").render(bridges=bridges)
        for name, network in networks.items():
            if host in network["hosts"]:
                leases = [
                    {"name": guest, "mac": derived_mac("guest", guest, nic), "ip": port["addresses"][0].split("/")[0]}
                    for guest, nic, port in nics
                    if port.get("network") == name
                ]
                files[f"libvirt/networks/{name}.xml"] = template("network").render(
                    name=name, network=network, host=host, leases=leases
                )
        for name in sorted({port["filter"] for _, _, port in nics}):
            files[f"libvirt/nwfilters/{name}.xml"] = template("filter").render(name=name, filter=filters[name])
        for name, guest in own.items():
            number, unit = guest["memory"].split()
            files[f"libvirt/domains/{name}.xml"] = template("domain").render(
                name=name, guest=guest, memory=int(number) * UNITS[unit]
            )
        for path, text in files.items():
            target = output / host / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)


def links(template: Any, host: dict[str, Any]) -> dict[str, str]:
    bridge = {port: name for name, link in host["bridges"].items() for port in link.get("ports", ())}
    bond = {port: name for name, link in host["bonds"].items() for port in link["ports"]}
    return {
        f"etc/sysconfig/network-scripts/ifcfg-{name}": template.render(
            name=name, type=kind, link=link, host=host, bridge=bridge.get(name), bond=bond.get(name)
        )
        for layer, kind in TYPES.items()
        for name, link in host[layer].items()
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
