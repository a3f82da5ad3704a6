"""A laboratory host that runs one inventory and is to get another: what is predicted of that, and what it plans."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from kvmgen.artifact import Kind
from kvmgen.difference.impact import Applying
from kvmgen.difference.model import Effect, Impact
from kvmgen.difference.sides import HostSide
from kvmgen.difference.words import IN_THE_PLAN
from kvmgen.model.site import views
from kvmgen.pipeline import build
from tests.applier.folder import APPLIER, HOST
from tests.applier.run import pinned
from tests.lab.domain import START_TIMEOUT, as_testable
from tests.lab.host import LabHost
from tests.sites import write

DONE, PENDING = 0, 3
RESTARTS = (Effect.RESTART, Effect.NETWORK_RESTART)
Planned = tuple[str, list[str]]


@dataclass(slots=True)
class Compiled:
    """An inventory's one host: what kvmgen knows of it, and its folder with domains that start here."""

    side: HostSide
    folder: Path


@dataclass(slots=True)
class Changing:
    """The host. ``environment`` is the applier's, as a session has it."""

    lab: LabHost
    place: Path
    environment: dict[str, str]
    inventories: int = 0

    def compiled(self, files: Mapping[str, str]) -> Compiled:
        self.inventories += 1
        place = self.place / str(self.inventories)
        result = build(write(place / "inventory", files), place / "output")
        assert result.is_good, result.diagnostics
        assert result.site is not None
        _make_testable(place / "output" / HOST)
        return Compiled(HostSide(next(iter(views(result.site)))), place / "output" / HOST)

    def apply(self, there: Compiled, *guests: str) -> None:
        """Have the host be so, with these guests running."""
        self._run(DONE, "apply", str(there.folder), "--confirm-within", "60")
        self._run(DONE, "confirm")
        for guest in guests:
            self.lab.virsh("start", guest, "--paused", timeout=START_TIMEOUT)

    def plan(self, then: Compiled, *words: str) -> dict[str, Planned]:
        """What the applier would do, by the item's name: its impact, and the guests that feel it."""
        rows: list[dict[str, Any]] = json.loads(self._run(PENDING, "--json", "plan", str(then.folder), *words))
        return {row["name"]: (row["impact"], row["guests"]) for row in rows}

    def _run(self, code: int, *words: str) -> str:
        environment = [f"{name}={text}" for name, text in self.environment.items()]
        host = ["--host", HOST] if {"plan", "apply"} & set(words) else []
        argv = ("env", *environment, "python3", "-I", str(APPLIER), *words, *host)
        done = self.lab.run(*argv, check=False, timeout=100)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


def _make_testable(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["kind"] == "domain":
            file = folder / entry["path"]
            file.write_text(pinned(as_testable(file.read_text())))
            entry["sha256"] = sha256(file.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def predicted(before: Compiled, then: Compiled) -> dict[str, Impact]:
    """What is said of each item that changes, by the applier's name for it; what goes inside guests is none of its."""
    old, new, applying = before.side.artifacts, then.side.artifacts, Applying(before.side, then.side)
    found = {}
    for path in dict.fromkeys([*new, *old]):
        one, other = old.get(path), new.get(path)
        known = other or one
        assert known is not None
        if one != other and known.kind is not Kind.GUEST_FILE:
            found[known.defines.name if known.defines else path] = applying.of_path(path)
    return found


def hold_to_the_plan(host: Changing, before: Compiled, then: Compiled) -> dict[str, Impact]:
    """Hold what is predicted to what the host plans: as it is asked, and asked with all that is needed named."""
    said = predicted(before, then)
    words = dict.fromkeys(word for impact in said.values() for word in re.findall(r"--disruptive \S+", impact.needs))
    plain = host.plan(then)
    named = host.plan(then, *" ".join(words).split())
    assert {name: _plain(impact, name) for name, impact in said.items()} == {name: plain[name][0] for name in plain}
    assert {name: _named(impact, plain[name], named[name]) for name, impact in said.items()} == named
    return said


def _plain(impact: Impact, name: str) -> str:
    """The applier's word for an effect where nothing is named."""
    words = IN_THE_PLAN[impact.effect]
    return words[0] if name.startswith("etc/") else words[-1]


def _named(impact: Impact, plain: Planned, named: Planned) -> Planned:
    """The same where all that is needed is named: a link that only waited for others starts with them."""
    if plain[0] == "later" and named[0] == "live":
        return "live", []
    return IN_THE_PLAN[impact.effect][-1], list(impact.guests)
