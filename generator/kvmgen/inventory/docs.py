"""The documentation of the rules that reading and lowering hold: too long to stand beside each `Rule`.

Their form is that of a check's docstring; `kvmgen.rules` says what it is.
"""

from __future__ import annotations

UNREADABLE = """\
What can't be read can't be compiled, and a build without it would take its object off the host.

An inventory file is UTF-8 text without a byte order mark, at most 4 MiB of it, in a folder that whoever builds may
read. kvmgen doesn't guess another encoding: a guess would give other names, and so other files, on another machine.

Bad::

    # guests/web02.yaml
    # Saved by an editor that writes ISO 8859-1.
    hosts: [kvm01]

Good::

    # guests/web02.yaml
    # Saved by an editor that writes UTF-8.
    hosts: [kvm01]

Source: YAML's encodings are those of Unicode (https://yaml.org/spec/1.2.2/#52-character-encodings); of these
everything else here is written in UTF-8 (https://www.rfc-editor.org/rfc/rfc3629).
"""

NOT_YAML = """\
A file that isn't YAML has no meaning that two readers would agree on.

What is told is the place at which the parser gave up; the mistake is there or a little before. Most often it is a
bracket or a quote that nobody closed, a tab, or a text with a colon in it that wants quotes. A second document, behind
`---`, is a mistake too: the file is one object.

Bad::

    # guests/web02.yaml
    title: web: the second one

Good::

    # guests/web02.yaml
    title: "web: the second one"

Source: the YAML 1.2 specification (https://yaml.org/spec/1.2.2/).
"""

DUPLICATE_KEY = """\
Of two values under one key, most readers of YAML keep the last one without a word, and the host gets that.

Whoever reviews the file sees the first one. YAML itself forbids it, and a merge of two branches likes to produce it.

Bad::

    # guests/web01.yaml
    memory: 2 GiB
    vcpus: 2
    memory: 4 GiB

Good::

    # guests/web01.yaml
    memory: 4 GiB
    vcpus: 2

Source: the keys of a mapping are unique (https://yaml.org/spec/1.2.2/#3211-nodes).
"""

REFUSED_YAML = """\
An inventory says what it says on its lines; what would make it say more is refused.

That is everything by which one line changes what another one means, or on which readers differ: tags, directives,
anchors, aliases (a few of them unfold to gigabytes), merge keys, keys that aren't strings, numbers beyond 63 bits,
nesting beyond 64 levels, and characters that no editor shows. Repetition is answered by the site's defaults and by
profiles.

Bad::

    # guests/web02.yaml
    disks: &two
      vda: {volume: web02.qcow2}

Good::

    # guests/web02.yaml
    disks:
      vda: {volume: web02.qcow2}

Source: what is left is the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema); merge keys were a
proposal for YAML 1.1 (https://yaml.org/type/merge.html).
"""

STRAY_FILE = """\
Nothing reads this: a guest in the wrong folder, or under the wrong suffix, would never reach its host.

Objects stand in hosts/, networks/, guests/, filters/ and policies/, as NAME.yaml and not deeper. A name that starts
with a dot is left alone.

Bad::

    # vms/web02.yaml
    hosts: [kvm01]

Good::

    # guests/web02.yaml
    hosts: [kvm01]

Source: YAML's own advice is one suffix, .yaml (https://yaml.org/faq.html).
"""

BAD_NAME = """\
A file's name is its object's: libvirt's name for it, a path in the output, and what its UUID and MACs come from.

So it has only letters, digits, dash, dot and underscore, 63 of them at most, a letter or digit first. A filter's
starts with a letter or an underscore: libvirt's schema wants an XML name there.

Bad::

    # guests/web02(old).yaml
    hosts: [kvm01]

Good::

    # guests/web02-old.yaml
    hosts: [kvm01]

Source: libvirt's names are those of its files (https://libvirt.org/formatdomain.html#general-metadata); a label of a
host name has 63 characters at most (https://www.rfc-editor.org/rfc/rfc1123).
"""

NO_INVENTORY = """\
An inventory has a site.yaml at its top, with the site's name, which every derived UUID and MAC depends on.

Without it nothing is read at all: a build in the wrong folder must not look like a site without hosts, whose output
would be removed.

Bad::

    # inventory/site.yaml
    name: example

Good::

    # site.yaml
    name: example

Source: UUIDs that come from names are made within a namespace, here the site's
(https://www.rfc-editor.org/rfc/rfc9562#section-5.5).
"""

UNUSED_SILENCE = """\
A silence that silences nothing lies in wait: it hides the next warning of its code that comes up here.

Either what it was about is mended, or it stands on the wrong line, or names the wrong code. Errors can't be silenced.
This is told only where the whole inventory could be looked at.

Bad::

    # guests/web01.yaml
    eth0: {network: default}  # kvmgen: ignore KV403 -- moved here from Xen

Good::

    # guests/web01.yaml
    eth0: {network: default, mac: "00:16:3e:00:00:01"}  # kvmgen: ignore KV403 -- moved here from Xen

Source: linters hold their own silences to this, such as ruff (https://docs.astral.sh/ruff/rules/unused-noqa/).
"""

BAD_SILENCE = """\
A comment that is meant for kvmgen and that it can't read silences nothing, and nobody would notice.

A silence names one code or several with commas, two dashes, and the reason. The reason is what a reviewer judges, and
what the next administrator finds; so there is no silence without one.

Bad::

    # guests/web01.yaml
    mac: "00:16:3e:00:00:01"  # kvmgen: ignore KV403

Good::

    # guests/web01.yaml
    mac: "00:16:3e:00:00:01"  # kvmgen: ignore KV403 -- moved here from Xen

Source: a comment is no part of a document's data, so only its own form can carry it
(https://yaml.org/spec/1.2.2/#66-comments).
"""

WRONG_VALUE = """\
A value of the wrong type or form reaches the host as something else, or stops the program that reads it there.

A bare 2048 could be bytes, KiB or MiB to libvirt; an address without a length has no subnet; a link's name beyond 15
characters is refused by the kernel; and a character that a shell, XML or a list would take as its own breaks the file
around it. The schemas say of every key what it may hold, and editors that know them tell it while you write.

Bad::

    # guests/web01.yaml
    memory: 2048

Good::

    # guests/web01.yaml
    memory: 2048 MiB

Source: the words and ranges are those of libvirt (https://libvirt.org/formatdomain.html,
https://libvirt.org/formatnetwork.html, https://libvirt.org/formatnwfilter.html); the schemas are JSON Schema
(https://json-schema.org/draft/2020-12/json-schema-validation).
"""

UNKNOWN_KEY = """\
What nothing reads has no effect, and whoever wrote it believes that it has one.

libvirt itself would forgive it: an element that it doesn't know is left out in silence, and a filter's rule whose
protocol is misspelt becomes one that matches every packet.

Bad::

    # filters/web.yaml
    - {priority: 500, action: accept, direction: in, tpc: {dstportstart: 80}}

Good::

    # filters/web.yaml
    - {priority: 500, action: accept, direction: in, tcp: {dstportstart: 80}}

Source: libvirt checks a definition against its schema only where it is asked to, with --validate
(https://libvirt.org/manpages/virsh.html#nwfilter-define); the elements of a rule are in
https://libvirt.org/formatnwfilter.html.
"""

MISSING_KEY = """\
Something that has no safe default isn't said.

kvmgen gives a default only where any administrator would expect the same one. Which host carries a guest, how a bond
uses its ports or how a network reaches the world is nobody's to guess.

Bad::

    # hosts/kvm01.yaml
    bond0: {ports: [eno1, eno2], miimon: 100}

Good::

    # hosts/kvm01.yaml
    bond0: {ports: [eno1, eno2], mode: active-backup, miimon: 100}

Source: the kernel's own default of a bond is balance-rr, which no guest's bridge can bear
(https://docs.kernel.org/networking/bonding.html); the keys of networks and guests are libvirt's
(https://libvirt.org/formatnetwork.html, https://libvirt.org/formatdomain.html).
"""

NO_REFERENCE = """\
A name that leads nowhere is found out on the host only when something starts, and then it doesn't.

libvirt takes the definition of a guest whose bridge, network or filter isn't there, and refuses to start it; a bond
goes without the port that nobody described. Everything must be there on each host that can carry the guest: a bridge
that is missing on the second one stops it on the day that it has to move.

Bad::

    # guests/web01.yaml
    eth0: {network: defualt, addresses: [192.168.122.10/24]}

Good::

    # guests/web01.yaml
    eth0: {network: default, addresses: [192.168.122.10/24]}

Source: https://libvirt.org/formatdomain.html#network-interfaces and, for filters that include others,
https://libvirt.org/formatnwfilter.html.
"""

NAME_TWICE = """\
One name, two things: only one of them can have it on the host.

A machine's links share one set of names, and a link's file is named after it: the second would overwrite the
first. Filters share their names with those that libvirt brings along and with kvmgen's own. A redefined clean-traffic
would change every guest that uses it, and libvirt refuses it anyway, because its UUID is another one on each host.

Bad::

    # filters/clean-traffic.yaml
    rules:
      - {priority: 500, action: accept, direction: inout, all: {}}

Good::

    # filters/cleaner-traffic.yaml
    rules:
      - filter: clean-traffic
      - {priority: 500, action: accept, direction: inout, all: {}}

Source: libvirt's own filters (https://libvirt.org/formatnwfilter.html); ifup looks up ifcfg files by the link's name
(https://github.com/fedora-sysv/initscripts).
"""

NOT_TOGETHER = """\
Each of these words is right alone; together they contradict each other, or one of them lacks another.

On the host, one of them would be ignored without a message, or the whole definition refused: ifup flushes an address
on a bridge's port, a NIC can't belong to a bond and to a bridge, libvirt takes no `nat` on an isolated network, and a
guest with UEFI needs the q35 chipset.

Bad::

    # hosts/kvm01.yaml
    ethernets:
      eno1: {addresses: [192.0.2.11/24]}
    bridges:
      br0: {ports: [eno1]}

Good::

    # hosts/kvm01.yaml
    ethernets:
      eno1: {}
    bridges:
      br0: {ports: [eno1], addresses: [192.0.2.11/24]}

Source: ifup-eth of initscripts (https://github.com/fedora-sysv/initscripts) for links;
https://libvirt.org/formatnetwork.html and https://libvirt.org/formatdomain.html for the others.
"""

NOT_ON_PLATFORM = """\
The platform has no such thing, so what stands here would have no effect there, or break what has.

el6 has iptables files and no firewalld, so neither zones nor policies; from el7 on firewalld owns the built-in chains,
so `chain-policies` mean nothing; from el9 on its direct rules are deprecated. firewalld has policies, and zones that
forward, from 0.9 on (el8.5), and rules with a priority from 0.7 on (el8.3). QEMU has neither q35 nor UEFI on el6, and
no pc chipset any more on el10.

Bad::

    # hosts/kvm02.yaml
    platform: el6
    firewall:
      zones: {lan: {services: [ssh]}}

Good::

    # hosts/kvm02.yaml
    platform: el6
    firewall:
      direct:
        - {family: both, chain: INPUT, rule: "-p tcp --dport 22 -j ACCEPT"}

Source: https://firewalld.org/documentation/man-pages/firewalld.zone.html and
https://firewalld.org/documentation/man-pages/firewalld.direct.html; machine types are QEMU's own
(https://www.qemu.org/docs/master/system/target-i386.html).
"""

NOT_AN_ADDRESS = """\
It looks like an address, and no machine can have it.

A number beyond 255, a prefix longer than the address, `::` twice, a subnet with bits set behind its length, a range
that runs backwards, a route whose gateway is of the other IP version: ifup or libvirt would refuse it, the whole
network with it, and the machine would come up without an address.

Bad::

    # guests/web01.yaml
    eth0: {network: default, addresses: [192.168.122.256/24]}

Good::

    # guests/web01.yaml
    eth0: {network: default, addresses: [192.168.122.254/24]}

Source: IPv4 prefixes (https://www.rfc-editor.org/rfc/rfc4632#section-3.1), IPv6 addresses in text
(https://www.rfc-editor.org/rfc/rfc4291#section-2.2).
"""
