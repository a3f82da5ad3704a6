"""What goes inside guests whose platform is known: the files of a host, under ``guests/NAME``.

A guest with a cloud-init seed has these from that, and no second truth beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kvmgen.artifact import Artifact, Kind
from kvmgen.model.site import HostView
from kvmgen.render import node


def render(view: HostView) -> Iterator[Artifact]:
    """The files of every guest at home here. Nobody copies them to the host: they are for the guest's image."""
    for guest in view.guests:
        if guest.cloud_init is None and guest.inside is not None:
            for file in node.files(guest.inside):
                yield replace(file, path=f"guests/{guest.name}/{file.path}", kind=Kind.GUEST_FILE)
