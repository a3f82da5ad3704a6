"""The prediction against the kernel, for all that one host carries; it is counted, and a disagreement is told whole."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kvmgen.model.site import Site
from kvmgen.pipeline import load
from kvmgen.reachability.answer import Answer
from kvmgen.reachability.consumers import Consumers
from kvmgen.reachability.path import Hop
from tests.lab.agreement.machines import Stage
from tests.lab.agreement.pairs import pairs
from tests.lab.agreement.prediction import connected, predicted, told
from tests.lab.agreement.prober import SECOND_LOOK, Outcome, Prober, probing
from tests.lab.agreement.special import Special, arrivals, specials
from tests.lab.agreement.special import predicted as passes
from tests.lab.agreement.stage import ports_named, staged
from tests.lab.agreement.traffic import Probe, Service, services
from tests.real.packets import Compiled, compile_host

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which probes: all of them, a sample of so many, those between named machines, or of one service.

    With ``at_home`` kvmgen is also asked what a host of the release that the inventory means would do.
    """

    seed: int = 0
    sample: int | None = None
    between: Collection[str] = ()
    service: Service | None = None
    at_home: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A probe with what kvmgen says of it and what the kernel does."""

    host: str
    probe: Probe
    answer: Answer
    observed: Outcome

    @property
    def what(self) -> str:
        """What is the same where the same disagreement is found in another site."""
        return f"{self.probe}: {self.observed}, not {self.answer.outcome}"

    @property
    def wish(self) -> Wish:
        """The probes that find it again."""
        return Wish(between=(self.probe.sender, self.probe.target), service=self.probe.service)

    def __str__(self) -> str:
        lines = [f"{self.host}: {self.probe}: the kernel says {self.observed}, kvmgen says {self.answer.outcome}"]
        return "\n".join([*lines, *(f"  {line}" for line in told(self.answer))])


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSpecial:
    """A frame that one of both lets through and the other doesn't."""

    host: str
    special: Special
    hops: tuple[Hop, ...]
    arrived: bool

    @property
    def what(self) -> str:
        """What is the same where the same disagreement is found in another site."""
        return f"{self.special}: {self.arrived}"

    @property
    def wish(self) -> Wish:
        """The probes that find it again."""
        return Wish(between=(self.special.sender.machine.name, self.special.target.machine.name))

    def __str__(self) -> str:
        said = "arrives" if self.arrived else "is stopped"
        lines = [f"{self.host}: {self.special}: the kernel says that it {said}, kvmgen doesn't"]
        return "\n".join([*lines, *(f"  {hop.step.where}: {hop.step.verdict} {hop.step.cause}" for hop in self.hops)])


@dataclass(slots=True)
class Figures:
    """What came of the probes; ``unstable`` are those of which the kernel said something else when asked alone.

    ``asked`` are the probes one by one, where a single service is asked for. ``unknown`` are reasons with their
    number, ``at_home`` those of a host of its own release.
    """

    probes: int = 0
    agreed: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    at_home: Counter[str] = field(default_factory=Counter)
    unstable: int = 0
    disagreed: list[Compared | ComparedSpecial] = field(default_factory=list)
    asked: list[Compared] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: Figures) -> None:
        """Count another host's as well."""
        self.probes += other.probes
        self.agreed += other.agreed
        self.unstable += other.unstable
        self.seconds += other.seconds
        self.disagreed += other.disagreed
        self.unknown += other.unknown
        self.at_home += other.at_home

    def share(self, unknown: Counter[str]) -> str:
        """The number of what is unknown, and its share of the probes."""
        return f"{unknown.total()} ({100 * unknown.total() / max(self.probes, 1):.1f} %)"

    def __str__(self) -> str:
        text = f"{self.probes} probes: {self.agreed} agree, {len(self.disagreed)} disagree"
        text += f", {self.share(self.unknown)} unknown, {self.unstable} settled by a second look"
        return f"{text}, in {self.seconds:.1f} s"


def compare_host(
    inventory: Path, host: str, wish: Wish, look: Callable[[Stage, Figures], None] | None = None
) -> Figures:
    """Bring a host up and ask kernel and kvmgen the same; ``look`` is called before it ends."""
    began = time.monotonic()
    site = load(inventory).site
    assert site is not None
    files = _needed(compile_host(inventory, host), wish.between)
    with staged(files, site) as stage, probing(stage) as prober:
        figures = compare_stage(stage, prober, site, wish)
        if look is not None:
            look(stage, figures)
    figures.seconds = time.monotonic() - began
    return figures


def _needed(files: Compiled, names: Collection[str]) -> Compiled:
    """The host without the guests that aren't asked for, but for those that lead to others."""
    if not names:
        return files
    left_out = [
        name
        for name, guest in files.guests.items()
        if name not in names
        and (guest.inside is None or not any("forward" in setting.key for setting in guest.inside.sysctl))
    ]
    folders = tuple(f"guests/{name}/" for name in left_out)
    domains = {f"libvirt/domains/{name}.xml" for name in left_out}
    texts = {path: text for path, text in files.texts.items() if path not in domains and not path.startswith(folders)}
    guests = {name: guest for name, guest in files.guests.items() if name not in left_out}
    return replace(files, guests=guests, texts=texts)


def compare_stage(stage: Stage, prober: Prober, site: Site, wish: Wish) -> Figures:
    """Ask of what is staged."""
    chosen = probes(stage, prober, wish)
    consumers = connected(stage, site)
    prober.serve(chosen)
    prober.warm_up(chosen)
    figures = Figures(probes=len(chosen))
    for probe, observed in zip(chosen, observe(stage, prober, chosen), strict=True):
        answer = predicted(consumers, probe)
        if wish.service is not None:
            figures.asked.append(
                Compared(host=stage.lab.files.host.name, probe=probe, answer=answer, observed=observed)
            )
        if answer.outcome == UNKNOWN:
            figures.unknown[answer.why] += 1
        elif agrees(answer, observed):
            figures.agreed += 1
        else:
            _look_again(stage, prober, probe, answer, figures)
    if wish.at_home:
        figures.at_home = _unknown_at_home(stage, site, chosen)
    if wish.service is None:
        _compare_specials(stage, consumers, wish, figures)
    return figures


def _unknown_at_home(stage: Stage, site: Site, chosen: Sequence[Probe]) -> Counter[str]:
    """Why kvmgen can't say what a host of the release that the inventory means does with the probes."""
    consumers = connected(stage, site, stage.lab.files.host.platform)
    answers = (predicted(consumers, probe) for probe in chosen)
    return Counter(answer.why for answer in answers if answer.outcome == UNKNOWN)


def _compare_specials(stage: Stage, consumers: Consumers, wish: Wish, figures: Figures) -> None:
    """The frames that a machine doesn't send by itself; last, because some of them lie to whoever hears them."""
    wanted = set(wish.between) or {machine.name for machine in stage.machines}
    chosen = [one for one in specials(stage) if {one.sender.machine.name, one.target.machine.name} <= wanted]
    if wish.sample is not None:
        chosen = random.Random(wish.seed).sample(chosen, min(wish.sample, len(chosen)))
    figures.probes += len(chosen)
    for special, arrived in zip(chosen, arrivals(stage, chosen), strict=True):
        expected, hops = passes(consumers, special)
        if expected is None:
            figures.unknown[hops[-1].step.why] += 1
        elif expected == arrived or arrivals(stage, [special]) == [expected]:
            figures.agreed += 1
            figures.unstable += expected != arrived
        else:
            host = stage.lab.files.host.name
            found = ComparedSpecial(host=host, special=special, hops=hops, arrived=arrived)
            figures.disagreed.append(found)


def _look_again(stage: Stage, prober: Prober, probe: Probe, answer: Answer, figures: Figures) -> None:
    """Ask alone, between machines that don't know each other yet: that is what kvmgen speaks of."""
    for machine in stage.machines:
        # Whom a machine has heard of it needn't ask for, and so gets past what stops its questions.
        stage.lab.run("ip", "neighbour", "flush", "all", netns=machine.shell)
    (observed,) = prober.round([probe], SECOND_LOOK)
    if agrees(answer, observed):
        figures.unstable += 1
        figures.agreed += 1
    else:
        host = stage.lab.files.host.name
        figures.disagreed.append(Compared(host=host, probe=probe, answer=answer, observed=observed))


def agrees(answer: Answer, observed: Outcome) -> bool:
    """Whether they say the same; to have no route is to be blocked."""
    return answer.outcome == ("blocked" if observed == "no route" else observed)


def probes(stage: Stage, prober: Prober, wish: Wish) -> list[Probe]:
    """The probes that are wished for, in an order that follows from the seed."""
    generator = random.Random(wish.seed)
    asked = [wish.service] if wish.service else services(*ports_named(stage.lab.files), generator)
    found = [
        Probe(sender.name, source, target.name, address, service)
        for sender, source, target, address in pairs(stage, prober, wish.between)
        for service in asked
    ]
    if wish.sample is not None and wish.sample < len(found):
        return generator.sample(found, wish.sample)
    return found


def observe(stage: Stage, prober: Prober, chosen: Sequence[Probe]) -> list[Outcome]:
    """What the kernel does: one round for all, but where connections are counted one for each that may be counted."""
    outcomes: dict[Probe, Outcome] = {}
    for several in _rounds(stage, chosen):
        outcomes |= zip(several, prober.round(several), strict=True)
    return [outcomes[probe] for probe in chosen]


def _rounds(stage: Stage, chosen: Sequence[Probe]) -> Iterator[list[Probe]]:
    counted = _counted(stage)
    free = [probe for probe in chosen if not {probe.sender, probe.target} & counted]
    if free:
        yield free
    waiting = [probe for probe in chosen if {probe.sender, probe.target} & counted]
    while waiting:
        taken: set[object] = set()
        this: list[Probe] = []
        later: list[Probe] = []
        for probe in waiting:
            ends = {(probe.source, probe.target), (probe.sender, probe.address)}
            (later if ends & taken else this).append(probe)
            taken |= ends
        yield this
        waiting = later


def _counted(stage: Stage) -> set[str]:
    """The guests under a filter that limits connections."""
    texts = stage.lab.files.texts
    limiting = {path.split("/")[-1].removesuffix(".xml") for path, text in texts.items() if "connlimit-above" in text}
    names = set(limiting)
    while True:
        more = {
            path.split("/")[-1].removesuffix(".xml")
            for path, text in texts.items()
            if path.startswith("libvirt/nwfilters/") and any(f"filter='{name}'" in text for name in names)
        }
        if more <= names:
            break
        names |= more
    return {machine.name for machine in stage.machines if any(nic.filtered in names for nic in machine.nics)}


def hosts_of(inventory: Path) -> list[str]:
    """The hosts that an inventory has."""
    site = load(inventory).site
    return [] if site is None else list(site.hosts)
