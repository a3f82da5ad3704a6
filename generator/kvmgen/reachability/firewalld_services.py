"""The services that firewalld knows of itself, as far as people name them, and its own zones.

A service that isn't here, nor in the machine's files, leaves a rule in doubt. Source: firewalld 1.3's own files.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


def _table(text: str) -> Mapping[str, tuple[str, ...]]:
    lines = (line.split() for line in text.strip().splitlines())
    return MappingProxyType({words[0]: tuple(words[1:]) for words in lines})


SERVICES = _table("""
    amqp 5672/tcp
    bgp 179/tcp
    cockpit 9090/tcp
    dhcp 67/udp
    dhcpv6 547/udp
    dhcpv6-client 546/udp
    dns 53/tcp 53/udp
    docker-registry 5000/tcp
    elasticsearch 9300/tcp 9200/tcp
    ftp 21/tcp
    grafana 3000/tcp
    http 80/tcp
    http3 443/udp
    https 443/tcp
    imap 143/tcp
    imaps 993/tcp
    ipp 631/tcp 631/udp
    ipp-client 631/udp
    ipsec /ah /esp 500/udp 4500/udp 4500/tcp
    iscsi-target 3260/tcp 3260/udp
    kerberos 88/tcp 88/udp
    ldap 389/tcp
    ldaps 636/tcp
    libvirt 16509/tcp
    libvirt-tls 16514/tcp
    mdns 5353/udp
    memcache 11211/tcp 11211/udp
    mosh 60000-61000/udp
    mountd 20048/tcp 20048/udp
    mysql 3306/tcp
    nfs 2049/tcp
    nrpe 5666/tcp
    ntp 123/udp
    openvpn 1194/udp
    pop3 110/tcp
    pop3s 995/tcp
    postgresql 5432/tcp
    prometheus 9090/tcp
    puppetmaster 8140/tcp
    radius 1812/tcp 1812/udp 1813/tcp 1813/udp
    redis 6379/tcp
    rpc-bind 111/tcp 111/udp
    rsyncd 873/tcp 873/udp
    samba 137/udp 138/udp 139/tcp 445/tcp
    samba-client 137/udp 138/udp
    smtp 25/tcp
    smtp-submission 587/tcp
    smtps 465/tcp
    snmp 161/tcp 161/udp
    squid 3128/tcp
    ssh 22/tcp
    syslog 514/udp
    telnet 23/tcp
    tftp 69/udp
    vnc-server 5900-5903/tcp
    wireguard 51820/udp
    zabbix-agent 10050/tcp
    zabbix-server 10051/tcp
""")
"""Ports and protocols (``/ah``) of each service."""

DESTINATIONS: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {"dhcpv6-client": {6: "fe80::/64"}, "mdns": {4: "224.0.0.251", 6: "ff02::fb"}}
)
"""The services that are for one address only, by IP version; one without an address isn't for that version."""

_OF_GUESTS = """
  <protocol value='icmp'/>
  <protocol value='ipv6-icmp'/>
  <service name='dhcp'/>
  <service name='dhcpv6'/>
  <service name='dns'/>
  <service name='ssh'/>
  <service name='tftp'/>
"""
"""What guests on libvirt's networks may ask of the host."""

_LIBVIRT = f"""
<zone target='ACCEPT'>
  <rule priority='32767'><reject/></rule>{_OF_GUESTS}</zone>
"""
_TO_HOST = f"""
<policy target='REJECT'>
  <ingress-zone name='libvirt-routed'/>
  <egress-zone name='HOST'/>{_OF_GUESTS}</policy>
"""
_ALLOW_HOST_IPV6 = """
<policy target='CONTINUE' priority='-15000'>
  <ingress-zone name='ANY'/>
  <egress-zone name='HOST'/>
  <rule family='ipv6'><icmp-type name='neighbour-advertisement'/><accept/></rule>
  <rule family='ipv6'><icmp-type name='neighbour-solicitation'/><accept/></rule>
  <rule family='ipv6'><icmp-type name='router-advertisement'/><accept/></rule>
  <rule family='ipv6'><icmp-type name='redirect'/><accept/></rule>
</policy>
"""
_CLIENT = "<zone><service name='ssh'/><service name='dhcpv6-client'/>{}<forward/></zone>"
_HOME = _CLIENT.format("<service name='mdns'/><service name='samba-client'/>{}")

ZONES: Mapping[str, str] = MappingProxyType(
    {
        "block": "<zone target='%%REJECT%%'><forward/></zone>",
        "dmz": "<zone><service name='ssh'/><forward/></zone>",
        "drop": "<zone target='DROP'><forward/></zone>",
        "external": "<zone><service name='ssh'/><masquerade/><forward/></zone>",
        "home": _HOME,
        "internal": _HOME,
        "libvirt": _LIBVIRT,
        "libvirt-routed": "<zone/>",
        "public": _CLIENT,
        "trusted": "<zone target='ACCEPT'><forward/></zone>",
        "work": _CLIENT,
    }
)
"""firewalld's own zones, and libvirt's; ``{}`` stands for cockpit, which el8 and later let in."""

POLICIES: Mapping[str, str] = MappingProxyType(
    {
        "allow-host-ipv6": _ALLOW_HOST_IPV6,
        "libvirt-routed-in": "<policy target='ACCEPT'><ingress-zone name='ANY'/>"
        "<egress-zone name='libvirt-routed'/></policy>",
        "libvirt-routed-out": "<policy target='ACCEPT'><ingress-zone name='libvirt-routed'/>"
        "<egress-zone name='ANY'/></policy>",
        "libvirt-to-host": _TO_HOST,
    }
)
"""firewalld's own policy, and libvirt's."""
