"""The documentation of the rules about the output, in the form of a check's docstring."""

from __future__ import annotations

NOT_OWNED = """\
A file of somebody else's stands where a file of kvmgen's belongs, and a build overwrites or removes nothing of others.

Whatever lies in a host's folder under a name of ours would be copied to the host as ours. What is kvmgen's is known by
the folder's manifest, and where that is lost by the line that opens every file. Files beside them, under other names,
are left alone.

Bad::

    # output/kvm01/etc/sysconfig/network-scripts/ifcfg-br0
    DEVICE=br0
    TYPE=Bridge

Good::

    # output/kvm01/etc/sysconfig/network-scripts/ifcfg-br0
    # Made by kvmgen from inventory/hosts/kvm01.yaml: edit that and build again.
    DEVICE=br0

Source: every ifcfg file in that folder is live on the host (https://github.com/fedora-sysv/initscripts).
"""

SYMLINK = """\
A build that followed a symbolic link would write outside the output, wherever the link leads.

Git keeps links, so a pull request could bring one. kvmgen writes real files into real folders and refuses a link in
the place of either, the output's own folder included.

Bad::

    # output
    kvm01/etc -> /etc

Good::

    # output
    kvm01/etc/

Source: open(2), O_NOFOLLOW (https://man7.org/linux/man-pages/man2/open.2.html).
"""

NOT_WRITTEN = """\
The disk is full, or the folder may not be read or written: the output would be the half of two sites.

All new files are written beside the old ones first, and only then take their places, each by a rename; where anything
fails, what was moved already goes back. The message says whether the output is whole.

Bad::

    # output
    kvm01/ (drwxr-xr-x, owned by root, and you are not root)

Good::

    # output
    kvm01/ (drwxr-xr-x, owned by you)

Source: rename(2) (https://man7.org/linux/man-pages/man2/rename.2.html).
"""

BUSY = """\
Two builds that write one output at a time would mix their files.

The first holds the folder locked until it ends; the second one stops at once and changes nothing. The lock goes with
its process, however that ends, so there is never a stale one to remove. `--check` needs no lock.

Bad::

    # output
    kvmgen build & kvmgen build

Good::

    # output
    kvmgen build && kvmgen build

Source: flock(2) (https://man7.org/linux/man-pages/man2/flock.2.html).
"""

NO_HOST = """\
`--host` names a host that the inventory doesn't have, so there is no folder to build.

A host's name is the stem of its file in hosts/, without the domain, and capital letters count.

Bad::

    # output
    kvmgen build --host kvm01.example.org

Good::

    # output
    kvmgen build --host kvm01

Source: the short name and the full one are two things (https://man7.org/linux/man-pages/man7/hostname.7.html).
"""

STALE = """\
The output is what hosts get and what reviewers read: where the inventory says something else, both are misled.

An inventory was changed without a build, a file of the output was edited by hand, two branches were merged, or kvmgen
itself is another version. `kvmgen build` writes all of it anew; which of the two was meant is seen in what it changes.

Bad::

    # output
    git add inventory && git commit

Good::

    # output
    kvmgen build && git add inventory output && git commit

Source: what is merged is what is applied (https://opengitops.dev/).
"""
