"""The services that come with firewalld, of any release from el7's to el10's.

Source: config/services in https://github.com/firewalld/firewalld.
"""

_NAMES = """
    0-AD afp amanda-client amanda-k5-client amqp amqps anno-1602 anno-1800 apcupsd aseqnet audit ausweisapp2 bacula
    bacula-client bareos-director bareos-filedaemon bareos-storage bb bgp bitcoin bitcoin-rpc bitcoin-testnet
    bitcoin-testnet-rpc bittorrent-lsd bootp-client bootp-server ceph ceph-exporter ceph-mon cfengine checkmk-agent
    chromecast civilization-iv civilization-v cluster-suite cockpit collectd condor-collector cratedb ctdb dds
    dds-multicast dds-unicast dhcp dhcpv6 dhcpv6-client distcc dns dns-over-quic dns-over-tls docker docker-registry
    docker-swarm dropbox-lansync elasticsearch etcd-client etcd-server factorio finger foreman foreman-proxy
    foreman-proxy-optional freeipa-4 freeipa-ldap freeipa-ldaps freeipa-replication freeipa-trust ftp fusion-pbx
    galera ganglia-client ganglia-master git gitea gpsd grafana gre high-availability http http3 https ident imap
    imaps influxdb iperf2 iperf3 ipfs ipp ipp-client ipsec irc ircs iscsi-target isns jellyfin jenkins jitsi kadmin
    kdeconnect kerberos kibana klogin knx-router knx-tool kodi-eventserver kodi-EventServer kodi-JSON-RPC-TCP
    kodi-rpc kpasswd kprop kshell kube-api kube-apiserver kube-control-plane kube-control-plane-secure
    kube-controller-manager kube-controller-manager-secure kube-flannel kube-metallb kube-nodeport-services
    kube-scheduler kube-scheduler-secure kube-worker kubelet kubelet-readonly kubelet-worker ldap ldaps libvirt
    libvirt-tls lightning-network lightning-network-testnet llmnr llmnr-client llmnr-tcp llmnr-udp localsend
    managesieve matrix matrix-synapse mdns mednafen memcache memcached minecraft minidlna mndp mongodb mosh mountd
    mqtt mqtt-tls ms-wbt mssql murmur mysql nbd nebula need-for-speed-most-wanted netbios-ns netdata-dashboard nfs
    nfs3 nmea-0183 nrpe ntp nut opentelemetry openvpn ovirt-imageio ovirt-storageconsole ovirt-vmconsole plex pmcd
    pmproxy pmwebapi pmwebapis pop3 pop3s postgresql privoxy prometheus prometheus-node-exporter proxy-dhcp ps2link
    ps3netsrv ptp pulseaudio puppetmaster quassel radius rdp redis redis-sentinel RH-Satellite-6
    RH-Satellite-6-capsule rootd rpc-bind rquotad rsh rsyncd rtsp salt-master samba samba-client samba-dc sane
    settlers-history-collection sip sips slp smtp smtp-submission smtps snmp snmptls snmptls-trap snmptrap
    spideroak-lansync spotify-sync squid ssdp ssh statsrv steam-lan-transfer steam-streaming stellaris
    stronghold-crusader stun stuns submission supertuxkart svdrp svn syncthing syncthing-gui syncthing-relay synergy
    syscomlan syslog syslog-tls telnet tentacle terraria tftp tftp-client tile38 tinc tor-socks transmission-client
    turn turns upnp-client vdsm vnc-server vrrp warpinator wbem-http wbem-https wireguard ws-discovery
    ws-discovery-client ws-discovery-tcp ws-discovery-udp wsman wsmans xdmcp xmpp-bosh xmpp-client xmpp-local
    xmpp-server zabbix-agent zabbix-java-gateway zabbix-server zabbix-trapper zabbix-web-service zero-k zerotier
"""

SERVICES = frozenset(_NAMES.split())
