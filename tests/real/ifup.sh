# What initscripts make of a folder of ifcfg files at boot, as far as the example site's files go. Called as
# `bash ifup.sh FOLDER`, it brings up plain links, then VLANs, then bridges, and stops at the first refusal.
#
# It is no copy of network-scripts and proves nothing about them: it does to the kernel what they do, in their order, so
# that the kernel judges the options, the layering and the order that the files say.
set -eu
cd "$1"

ifup() (
    # A bond brings its ports up from here, and what its own file says is not theirs.
    unset -v HWADDR BONDING_MASTER VLAN MTU SLAVE BRIDGE IPADDR GATEWAY IPV6ADDR IPV6_DEFAULTGW
    . "./ifcfg-$1"
    # A physical NIC is there already, and must be the one that is meant.
    if [[ -n ${HWADDR-} && $(<"/sys/class/net/$DEVICE/address") != "${HWADDR,,}" ]]; then
        echo "$DEVICE: not the MAC $HWADDR"
        exit 1
    fi
    if [[ ${BONDING_MASTER-} == yes ]]; then
        echo "+$DEVICE" >/sys/class/net/bonding_masters
        for option in $BONDING_OPTS; do
            echo "${option#*=}" >"/sys/class/net/$DEVICE/bonding/${option%%=*}"
        done
    elif [[ ${VLAN-} == yes ]]; then
        ip link add link "$PHYSDEV" name "$DEVICE" type vlan id "$VID"
    elif [[ $TYPE == Bridge ]]; then
        new_bridge "$DEVICE"
        [[ $STP == yes ]] && stp=1 || stp=0
        ip link set "$DEVICE" type bridge stp_state "$stp" forward_delay "$((DELAY * 100))"
    fi
    [[ -z ${MTU-} ]] || ip link set "$DEVICE" mtu "$MTU"
    if [[ ${SLAVE-} == yes ]]; then
        ip link set "$DEVICE" down
        echo "+$DEVICE" >"/sys/class/net/$MASTER/bonding/slaves"
        exit 0
    fi
    ip link set "$DEVICE" up
    if [[ ${BONDING_MASTER-} == yes ]]; then
        for port in ifcfg-*; do
            [[ $(value "$port" MASTER) != "$DEVICE" ]] || ifup "${port#ifcfg-}"
        done
    fi
    # Nothing behind this is read of a bridge's port.
    if [[ -n ${BRIDGE-} ]]; then
        new_bridge "$BRIDGE"
        ip address flush dev "$DEVICE"
        ip link set "$DEVICE" master "$BRIDGE"
        exit 0
    fi
    [[ -z ${IPADDR-} ]] || ip address add "$IPADDR/$PREFIX" dev "$DEVICE"
    [[ -z ${GATEWAY-} ]] || ip route add default via "$GATEWAY" dev "$DEVICE"
    [[ -z ${IPV6ADDR-} ]] || ip address add "$IPV6ADDR" dev "$DEVICE" nodad
    [[ -z ${IPV6_DEFAULTGW-} ]] || ip route add default via "$IPV6_DEFAULTGW" dev "$DEVICE"
)

new_bridge() {
    [[ -d /sys/class/net/$1 ]] || ip link add name "$1" type bridge
}

value() (
    unset -v "$2"
    . "./$1"
    echo "${!2-}"
)

plain=() vlans=() bridges=()
for file in ifcfg-*; do
    if [[ $(value "$file" SLAVE) == yes ]]; then
        :  # its bond brings it up
    elif [[ $(value "$file" TYPE) == Bridge ]]; then
        bridges+=("${file#ifcfg-}")
    elif [[ $(value "$file" VLAN) == yes ]]; then
        vlans+=("${file#ifcfg-}")
    else
        plain+=("${file#ifcfg-}")
    fi
done
for device in "${plain[@]}" "${vlans[@]}" "${bridges[@]}"; do
    ifup "$device"
done
