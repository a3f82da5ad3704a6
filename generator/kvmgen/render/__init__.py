"""The renderers: one module a format, in one visible table, each from a host's view of the site to artifacts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kvmgen.artifact import APPLY_ORDER, Artifact
from kvmgen.model.site import HostView
from kvmgen.render import cloudinit, domain, inside, network, node, nwfilter

Renderer = Callable[[HostView], Iterable[Artifact]]

RENDERERS: tuple[Renderer, ...] = (
    node.render,
    network.render,
    nwfilter.render,
    cloudinit.render,
    domain.render,
    inside.render,
)


def render(view: HostView) -> list[Artifact]:
    """Every file of a host's folder, in the order in which they are applied."""
    artifacts = [artifact for renderer in RENDERERS for artifact in renderer(view)]
    return sorted(artifacts, key=lambda artifact: APPLY_ORDER.index(artifact.kind))
