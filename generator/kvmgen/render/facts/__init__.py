"""Why the lines of the output are as they are: what the programs that read them do, one table a format."""

from __future__ import annotations

import re
from functools import lru_cache

from kvmgen.render.facts.domains import DOMAINS
from kvmgen.render.facts.fact import Fact
from kvmgen.render.facts.filters import FILTERS
from kvmgen.render.facts.firewalls import FIREWALLS
from kvmgen.render.facts.ifcfg import IFCFG
from kvmgen.render.facts.kernel import KERNEL
from kvmgen.render.facts.keyfiles import KEYFILES
from kvmgen.render.facts.networks import NETWORKS
from kvmgen.render.facts.seeds import SEEDS

FACTS: tuple[Fact, ...] = (
    *IFCFG,
    *KEYFILES,
    *FIREWALLS,
    *KERNEL,
    *NETWORKS,
    *FILTERS,
    *DOMAINS,
    *SEEDS,
)


def facts_of(path: str, line: str, major: int) -> tuple[Fact, ...]:
    """What shaped a line of a file on a platform of this major release."""
    return tuple(fact for fact in _about(path, major) if re.search(fact.line, line))


@lru_cache(maxsize=64)
def _about(path: str, major: int) -> tuple[Fact, ...]:
    return tuple(fact for fact in FACTS if fact.is_about(path, major))
