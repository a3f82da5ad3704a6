"""What libvirt and QEMU do with the definition of a domain."""

from __future__ import annotations

from functools import partial

from kvmgen.render.facts.fact import Fact

_FORMAT = "https://libvirt.org/formatdomain.html"
_FILTERS = "https://libvirt.org/formatnwfilter.html"
_MEASURED = "measured on libvirt 9.0"

_fact = partial(Fact, file=r"libvirt/domains/.+\.xml", source=_FORMAT)

DOMAINS: tuple[Fact, ...] = (
    _fact(
        line="<uuid>",
        reason="made of the site's and the guest's name, never of a host: a guest that moves keeps it, and libvirt "
        "refuses to define a guest again under another one",
        source=_MEASURED,
        rules=("KV404",),
    ),
    _fact(
        line="<memory unit='KiB'",
        reason="libvirt writes amounts back in KiB, whatever they were given in",
        source=f"{_FORMAT}#memory-allocation",
        rules=("KV425", "KV426"),
    ),
    _fact(
        line="<currentMemory ",
        reason="what the balloon leaves the guest at its start: all, unless `current-memory` says less",
        source=f"{_FORMAT}#memory-allocation",
    ),
    _fact(
        line="<vcpu ",
        reason="the guest's processors; where a host's are fewer they take turns",
        source=f"{_FORMAT}#cpu-allocation",
        rules=("KV427",),
    ),
    _fact(
        line="machine='",
        reason="a versioned machine type, the oldest of the home's release: one without a version means another board "
        "after an update, and the guest other hardware",
        source="https://www.qemu.org/docs/master/system/target-i386.html",
        rules=("KV430", "KV431"),
    ),
    _fact(
        line="<emulator>",
        reason="where RHEL and its kin keep QEMU: outside of the path, for libvirt alone",
        source="https://gitlab.com/redhat/centos-stream/src/qemu-kvm",
    ),
    _fact(
        line="<boot dev='hd'",
        reason="the first disk, for no device has a place in the boot order; libvirt takes only one of the two ways",
        source=f"{_FORMAT}#bios-bootloader",
        rules=("KV421",),
    ),
    _fact(
        line="<boot order=",
        reason="the place in the guest's boot order, among disks and NICs",
        source=f"{_FORMAT}#bios-bootloader",
        rules=("KV421",),
    ),
    _fact(
        line="<source pool=",
        reason="libvirt looks the volume up in its storage pool when the guest starts: nothing here makes it",
        source=f"{_FORMAT}#hard-drives-floppy-disks-cdroms",
        rules=("KV419",),
    ),
    _fact(
        line="<(acpi|apic)/>",
        reason="without ACPI a guest isn't shut down by request, and without the APIC it has one processor",
        source=f"{_FORMAT}#hypervisor-features",
    ),
    _fact(
        line="<(smm|loader|nvram|firmware|feature )|firmware='efi'",
        reason="since 5.2 libvirt finds the firmware's image itself, and since 7.2 it is told about keys; before, "
        "el7's and el8's only image is named, which is built for secure boot and so needs SMM",
        source=f"{_FORMAT}#bios-bootloader",
        rules=("KV433",),
    ),
    _fact(
        line="<cpu ",
        reason="the host's model as libvirt knows it unless the inventory names another; `check` is what libvirt would "
        "write itself, since 3.2",
        source=f"{_FORMAT}#cpu-model-and-topology",
        rules=("KV434",),
    ),
    _fact(
        line="<(clock|timer) ",
        reason="UTC, with lost ticks made up for and no HPET: what Linux guests have kept time best with under KVM",
        source=f"{_FORMAT}#time-keeping",
    ),
    _fact(
        line="<on_(poweroff|reboot|crash)>",
        reason="libvirt's defaults, written out because it writes them back",
        source=f"{_FORMAT}#events-configuration",
    ),
    _fact(
        line="<driver name='qemu'",
        reason="the format is always said: QEMU must never guess it from what the guest wrote into its disk",
        source=f"{_FORMAT}#hard-drives-floppy-disks-cdroms",
        rules=("KV417", "KV418"),
    ),
    _fact(
        line="<target dev='[a-z]+' bus=",
        reason="the place on its bus: libvirt derives the controller and the unit from the name",
        source=f"{_FORMAT}#hard-drives-floppy-disks-cdroms",
        rules=("KV415", "KV416"),
    ),
    _fact(
        line="<source file='/var/lib/libvirt/images/kvmgen-",
        reason="the guest's seed, which lies on every host that can carry it; the drive has the last place of a "
        "controller that is there anyway, so that no other device moves",
        source="https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html",
    ),
    _fact(
        line="<controller type='usb'",
        reason="what libvirt would choose differs by release and board; a controller that changes is other hardware",
        source="https://libvirt.org/pci-addresses.html",
    ),
    _fact(
        line="<controller type='pci' .*model='pcie-",
        reason="every NIC of a q35 guest has a root port of its own: so its address stays when others come and go",
        source="https://libvirt.org/pci-addresses.html",
    ),
    _fact(
        line="<controller type='(scsi|virtio-serial)'",
        reason="written out, because libvirt adds it to the definition anyway",
        source=f"{_FORMAT}#controllers",
    ),
    _fact(
        line="<mac address=",
        reason="always said: a definition without one gets a new random MAC. Where the inventory pins none, it is made "
        "of site, guest and interface",
        source=_MEASURED,
        rules=("KV401", "KV402", "KV403"),
    ),
    _fact(
        line="<source bridge=",
        reason="the tap is a port of this bridge of the host",
        source=f"{_FORMAT}#network-interfaces",
        rules=("KV411", "KV435"),
    ),
    _fact(
        line="<source network=",
        reason="by the name that virsh knows the network by; the network says which bridge the tap goes to",
        source=f"{_FORMAT}#network-interfaces",
        rules=("KV436",),
    ),
    _fact(
        line="<model type='(virtio|e1000|e1000e|rtl8139)'",
        reason="always said: what libvirt takes for a NIC without a model depends on the board, on q35 rtl8139",
        source=_MEASURED,
        rules=("KV432",),
    ),
    _fact(
        line="<target dev='[^']+'/>",
        reason="the tap's name on the host, at most 15 bytes; libvirt drops one that starts like its own",
        source=f"{_FORMAT}#overriding-the-target-element",
        rules=("KV406", "KV407"),
    ),
    _fact(
        line="<driver queues=",
        reason="only virtio has queues: on another model libvirt drops the word",
        source=f"{_FORMAT}#setting-nic-driver-specific-options",
        rules=("KV408", "KV409"),
    ),
    _fact(
        line="<port isolated='yes'",
        reason="two isolated ports of a bridge exchange no frame; a port that isn't isolated reaches both",
        source=f"{_FORMAT}#isolating-guests-network-traffic-from-each-other",
        rules=("KV413",),
    ),
    _fact(
        line="<filterref filter='kvmgen-anti-spoofing",
        reason="what the guest sends must be from its own MAC and addresses: a filter of kvmgen's, for both IP "
        "versions, where the interface names none itself",
        source=_FILTERS,
        rules=("KV536",),
    ),
    _fact(
        line=r"<filterref filter='policies\.",
        reason="one filter for this set of policies on every interface that has it: it includes each policy's and the "
        "anti-spoofing, and drops the rest",
        source=_FILTERS,
        rules=("KV542", "KV547"),
    ),
    _fact(
        line="name='CTRL_IP_LEARNING' value='none'",
        reason="the addresses are known: otherwise libvirt believes the first address that the guest sends from",
        source=f"{_FILTERS}#advanced-filter-configuration-topics",
        rules=("KV530", "KV531"),
    ),
    _fact(
        line="name='CTRL_IP_LEARNING' value='dhcp'",
        reason="the address isn't known: libvirt takes it from the DHCP server's answer, and until then only DHCP "
        "passes",
        source=f"{_FILTERS}#advanced-filter-configuration-topics",
        rules=("KV532",),
    ),
    _fact(
        line="name='IP'",
        reason="an IPv4 address that the guest may send from; a parameter that is there several times is a list",
        source=_FILTERS,
        rules=("KV537", "KV540"),
    ),
    _fact(
        line="name='IPV6' value='(?!fe80:)",
        reason="an IPv6 address or segment that the guest may send from; libvirt can't learn one by itself",
        source=_FILTERS,
        rules=("KV537", "KV540"),
    ),
    _fact(
        line="name='IP_SEGMENT'",
        reason="a segment that the guest may send from beside its own addresses: the n-th of the masks is its mask",
        source=_FILTERS,
        rules=("KV541",),
    ),
    _fact(
        line=r"<filterref filter='(?!kvmgen-anti-spoofing|policies\.)",
        reason="the filter that the interface names: it replaces kvmgen's own, and its variables get what is known of "
        "the interface; $MAC is libvirt's",
        source=_FILTERS,
        rules=("KV525", "KV536"),
    ),
    _fact(
        line="name='IPV6' value='fe80:",
        reason="the guest's link-local address, the one that its MAC makes unless it names another: with the whole of "
        "fe80::/10 it could answer for its neighbours in neighbour discovery",
        source="https://www.rfc-editor.org/rfc/rfc4291",
        rules=("KV538",),
    ),
    _fact(
        line="name='[A-Za-z0-9_]+_MASK'",
        reason="a list beside the addresses': a value can't hold a slash. libvirt silently drops a parameter with "
        "other characters than letters, digits, dots, colons and underscores",
        source=_MEASURED,
        rules=("KV527", "KV528"),
    ),
    _fact(
        line="name='(POLICY_|GUEST_|NETWORK_|HOST)",
        reason="the addresses behind a name in a policy: a new member changes these lists, and the filter stays",
        source=_FILTERS,
        rules=("KV543", "KV544"),
    ),
    _fact(
        line="name='(POLICY_|GUEST_|NETWORK_|HOST).* value='(127.0.0.1|::1)'",
        reason="nobody yet: a list must not be empty, and no packet on a wire has this address",
        source=_FILTERS,
        rules=("KV543",),
    ),
    _fact(
        line="<address type='pci'",
        reason="pinned, so that a NIC keeps its place and its name in the guest when another one goes",
        source="https://libvirt.org/pci-addresses.html",
        rules=("KV405", "KV414"),
    ),
    _fact(
        line="<(serial|console) type='pty'",
        reason="what `virsh console` shows: the way in where a guest's network is wrong",
        source=f"{_FORMAT}#consoles-serial-parallel-channel-devices",
    ),
    _fact(
        line="org.qemu.guest_agent.0",
        reason="the name under which the agent inside looks for its channel",
        source=f"{_FORMAT}#consoles-serial-parallel-channel-devices",
    ),
    _fact(
        line="<source mode='bind'",
        reason="before 1.0.6 libvirt doesn't find a path for the socket by itself",
        source=f"{_FORMAT}#consoles-serial-parallel-channel-devices",
    ),
    _fact(
        line="<input type='tablet'",
        reason="an absolute pointer: a mouse would drift away from the console's own",
        source=f"{_FORMAT}#input-devices",
    ),
    _fact(
        line="<(graphics|listen) ",
        reason="a console that listens on the host alone, unless the inventory says otherwise: it asks for no password",
        source=f"{_FORMAT}#graphical-framebuffers",
        rules=("KV490",),
    ),
    _fact(
        line="<memballoon ",
        reason="libvirt adds one to every guest: written out, because it writes it back",
        source=f"{_FORMAT}#memory-balloon-device",
    ),
    _fact(
        line="<(rng|backend) ",
        reason="randomness from the host, so that a guest's first keys aren't made of nothing",
        source=f"{_FORMAT}#random-number-generator-device",
    ),
    _fact(
        line="<watchdog ",
        reason="what becomes of a guest that hangs",
        source=f"{_FORMAT}#watchdog-devices",
    ),
    _fact(
        line="<readonly/>",
        reason="what a cdrom is anyway: libvirt writes it back",
        source=f"{_FORMAT}#hard-drives-floppy-disks-cdroms",
    ),
)
