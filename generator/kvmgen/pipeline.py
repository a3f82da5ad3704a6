"""The compiler on one screen: read -> validate -> lower -> check -> render -> prove -> write."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from kvmgen.artifact import Artifact
from kvmgen.checks import check
from kvmgen.diagnostics import Diagnostic, Rule, has_errors
from kvmgen.inventory.lower import lower
from kvmgen.inventory.read import read
from kvmgen.inventory.silence import heeded
from kvmgen.inventory.sources import Sources
from kvmgen.model.site import HostView, Site, views
from kvmgen.output import docs
from kvmgen.output.manifest import NAME as MANIFEST
from kvmgen.output.manifest import manifest
from kvmgen.output.plan import NOT_WRITTEN, Plan, plan_gone_hosts, plan_host
from kvmgen.output.tree import commit, locked, stage
from kvmgen.parallel import mapped
from kvmgen.render import render

NO_HOST = Rule(code="KV034", title="A host that the inventory doesn't have", doc=docs.NO_HOST)
RULES = (NO_HOST,)

Progress = Callable[[Iterator[Plan], int], Iterable[Plan]]
"""Passes on the parts of a build as they are done, given how many there will be; it may show them."""


def no_progress(parts: Iterator[Plan], _total: int) -> Iterable[Plan]:
    """Show nothing."""
    return parts


@dataclass(slots=True)
class Result:
    """What a run found and, for a build, what it changed or would change.

    ``is_whole`` is whether all of the inventory is in ``site``: whatever is wrong with that, only checks found it.
    """

    sources: Sources
    site: Site | None = None
    diagnostics: list[Diagnostic] = field(default_factory=list)
    plan: Plan = field(default_factory=Plan)
    is_whole: bool = False

    @property
    def is_good(self) -> bool:
        """Whether nothing stops a build."""
        return not has_errors(self.diagnostics)


def load(inventory: Path, only: Container[str] | None = None) -> Result:
    """The inventory as a checked site; of ``only`` some of its files for whoever knows that these suffice."""
    documents = read(inventory, only)
    site, problems = lower(documents)
    sources = Sources(inventory)
    found = documents.diagnostics + problems
    complete = site is not None and not has_errors(found)
    if site is not None:
        found += check(site) if complete else _beside(found, check(site))
    once = dict.fromkeys(found)  # what is said for several hosts is wrong for each of them
    told = heeded(once, documents.silences, sources, complete=complete and only is None)
    return Result(sources, site, told, is_whole=complete)


def _beside(problems: Iterable[Diagnostic], findings: Iterable[Diagnostic]) -> list[Diagnostic]:
    """What the checks find where the site isn't whole: errors, and those only of files that have none of their own."""
    doubtful = {problem.origin.file for problem in problems if problem.origin}
    return [finding for finding in findings if finding.is_error and doubtful.isdisjoint(_files(finding))]


def _files(finding: Diagnostic) -> Iterator[str]:
    places = (finding.origin, *(place for place, _ in finding.related))
    yield from (place.file for place in places if place)


def validate(inventory: Path) -> Result:
    """All that can be known without writing: everything is rendered, into memory."""
    result = load(inventory)
    has_rendered = _prove(result)
    if result.site is not None and result.is_good and not has_rendered:
        chosen = list(views(result.site))
        list(mapped(_render_only, chosen, worth=_HOSTS_A_PROCESS))
    return result


def nothing_to_do(inventory: Path) -> Result:
    """What a run found that had no reason to look."""
    return Result(Sources(inventory))


def _prove(result: Result) -> bool:
    """What the inventory expects of packets, held against the hosts' files; whether it expects anything."""
    if result.site is None or not result.is_good:
        return False
    expects = bool(result.site.expects) or any(policy.expects for policy in result.site.policies.values())
    if expects:
        from kvmgen.proof.expected import prove

        result.diagnostics += prove(result.site, result.sources)
    return expects


def _render_only(view: HostView) -> int:
    return len(render(view))


_HOSTS_A_PROCESS = 12


def build(
    inventory: Path,
    output: Path,
    *,
    host: str | None = None,
    write: bool = True,
    strict: bool = False,
    progress: Progress = no_progress,
) -> Result:
    """Make ``output`` what the inventory says; without ``write``, only say what would change.

    ``host`` limits the build to one host's folder; with ``strict``, a warning stops it as well.
    """
    result = load(inventory)
    _prove(result)
    if result.site is None or not result.is_good or (strict and result.diagnostics):
        return result
    refusal = _refusal(result.site, inventory, output, host)
    if refusal is not None:
        result.diagnostics.append(refusal)
        return result
    chosen = [view for view in views(result.site) if host in (None, view.host.name)]
    if not write:
        _plan(result, output, chosen, host, progress, to_stage=False)
        return result
    with locked(output) as problem:
        if problem is not None:
            result.diagnostics.append(problem)
            return result
        _plan(result, output, chosen, host, progress, to_stage=True)
        if result.is_good:
            failure = commit(output, result.plan)
            result.diagnostics += [failure] if failure else []
    return result


def _refusal(site: Site, inventory: Path, output: Path, host: str | None) -> Diagnostic | None:
    """What is wrong with the way in which a build was asked for."""
    if host is not None and host not in site.hosts:
        hint = f"There is: {', '.join(site.hosts)}." if site.hosts else "The inventory has no host yet."
        return Diagnostic(rule=NO_HOST, message=f"there is no host {host!r} in the inventory", hint=hint)
    if Path(os.path.realpath(output)).is_relative_to(os.path.realpath(inventory)):
        message = f"the output {output} is inside the inventory, where nothing but its own files may be"
        return Diagnostic(rule=NOT_WRITTEN, message=message, hint="Name a folder beside the inventory with --output.")
    return None


def _plan(
    result: Result, output: Path, chosen: list[HostView], host: str | None, progress: Progress, *, to_stage: bool
) -> None:
    parts = mapped(partial(_plan_view, output, to_stage), chosen, worth=_HOSTS_A_PROCESS)
    for part in progress(parts, len(chosen)):
        result.plan.add(part)
    if host is None and result.site is not None:
        result.plan.add(plan_gone_hosts(output, result.site.hosts))
    result.diagnostics += dict.fromkeys(result.plan.problems)


def _plan_view(output: Path, to_stage: bool, view: HostView) -> Plan:
    name = view.host.name
    files = host_files(view, render(view))
    plan = plan_host(output, name, files)
    if to_stage and not plan.problems:
        stage(output, name, files, plan)
    return plan


def host_files(view: HostView, artifacts: Sequence[Artifact]) -> dict[str, bytes]:
    """A host's folder: path -> content, the manifest included."""
    files = {artifact.path: artifact.content for artifact in artifacts}
    files[MANIFEST] = manifest(view.site.name, view.host.name, str(view.host.platform), artifacts).encode()
    return files
