"""iptables' rules and chains: what they say of a packet, and which rule says it.

Whoever fills them in (a saved file, firewalld's direct rules, libvirt, firewalld's zones) writes rules as
``iptables -S`` shows them. Source: iptables(8), iptables-extensions(8).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from kvmgen.reachability.iptables_matches import (
    FAMILIAR,
    SAYS_NOTHING,
    WITH_VALUE,
    WITHOUT_VALUE,
    Seen,
    Test,
    tcp_flags,
)
from kvmgen.reachability.packet import State
from kvmgen.reachability.step import Cause, Verdict
from kvmgen.value import record, value


def _pairs(text: str) -> Mapping[str, str]:
    words = text.split()
    return MappingProxyType(dict(zip(words[::2], words[1::2], strict=True)))


_SHORT = _pairs("""
    --protocol -p --proto -p --source -s --src -s --destination -d --dst -d --in-interface -i --out-interface -o
    --jump -j --goto -g --match -m --fragment -f --destination-port --dport --source-port --sport
    --destination-ports --dports --source-ports --sports --port --ports
""")
_COMMANDS = _pairs("-A A --append A -I I --insert I -N N --new-chain N -P P --policy P")
_VERDICTS = MappingProxyType({"ACCEPT": Verdict.ACCEPT, "DROP": Verdict.DROP, "REJECT": Verdict.REJECT})
NAT_TARGETS = frozenset(("MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP"))
_GOES_ON = frozenset(
    (
        *("LOG", "NFLOG", "ULOG", "AUDIT", "TRACE", "MARK", "CONNMARK", "TCPMSS", "CHECKSUM", "CT", "NOTRACK", "SET"),
        *("CLASSIFY", "DSCP", "TOS", "TTL", "HL", "SECMARK", "CONNSECMARK", "TCPOPTSTRIP", ""),
    )
)
"""Targets after which the next rule is looked at; a rule without a target only counts."""


@record
class Match:
    """One condition; ``text`` is its words in the rule."""

    test: Test
    text: str
    negated: bool = False

    def holds(self, seen: Seen) -> bool | None:
        """Whether it holds of a packet, or ``None`` where that can't be known."""
        held = self.test(seen)
        return held if held is None or not self.negated else not held


@value
class Rule:
    """One rule: its conditions, and where the packet goes; ``options`` are the target's own (``--to-source``)."""

    matches: tuple[Match, ...]
    target: str
    cause: Cause
    goto: bool = False
    options: tuple[tuple[str, str], ...] = ()

    def fits(self, seen: Seen) -> tuple[bool | None, str]:
        """Whether the rule fits a packet; where that can't be known, what it is that can't."""
        unsure = ""
        for match in self.matches:
            held = match.holds(seen)
            if held is False:
                return False, ""
            if held is None:
                unsure = unsure or match.text
        return (None, f"{unsure!r} isn't known of this packet") if unsure else (True, "")

    def option(self, *names: str) -> str:
        """The value of the first of some of the target's options, or nothing."""
        return next((given for name, given in self.options if name in names), "")


@value
class Outcome:
    """What a chain says: ``PASS`` where its end is reached; ``rule`` is the one that decided."""

    verdict: Verdict
    cause: Cause | None = None
    why: str = ""
    rule: Rule | None = None


_END = Outcome(verdict=Verdict.PASS)


def parse(text: str, version: int, cause: Cause) -> Rule:
    """A rule's words, without the chain that it is in."""
    try:
        return _Parser(version, cause).read(_words(text))
    except ValueError as error:  # quotes that don't pair, an address or a number that is none
        return Rule(matches=(_unknown(f"{text} ({error})"),), target="ACCEPT", cause=cause)


def _words(text: str) -> list[str]:
    """The words as a shell has them; most rules have nothing to quote, and don't need its slow reader."""
    return shlex.split(text) if any(mark in text for mark in "'\"\\") else text.split()


def _unknown(text: str) -> Match:
    return Match(lambda _seen: None, text)


class _Parser:
    """One rule, word for word."""

    def __init__(self, version: int, cause: Cause) -> None:
        self._version, self._cause = version, cause
        self._matches: list[Match] = []
        self._options: list[tuple[str, str]] = []
        self._target, self._goto = "", False
        self._words: list[str] = []

    def read(self, words: Iterable[str]) -> Rule:
        self._words = list(reversed([*_split(words)]))
        negated = False
        while self._words:
            word = self._words.pop()
            if word == "!":
                negated = True
                continue
            self._option(_SHORT.get(word, word), negated)
            negated = False
        return Rule(
            matches=tuple(self._matches),
            target=self._target,
            cause=self._cause,
            goto=self._goto,
            options=tuple(self._options),
        )

    def _option(self, name: str, negated: bool) -> None:
        if name in ("-j", "-g"):
            self._target, self._goto = self._value(), name == "-g"
        elif name == "-m":
            self._load(self._value())
        elif name in SAYS_NOTHING:
            self._value()
        elif name in WITHOUT_VALUE:
            self._matches.append(Match(WITHOUT_VALUE[name], name, negated))
        elif name == "--tcp-flags":
            mask, wanted = self._value(), self._value()
            self._matches.append(Match(tcp_flags(mask, wanted), f"{name} {mask} {wanted}", negated))
        elif name in WITH_VALUE:
            if self._words and self._words[-1] == "!":  # an older spelling
                self._words.pop()
                negated = True
            given = self._value()
            self._matches.append(Match(WITH_VALUE[name](given, self._version), f"{name} {given}", negated))
        else:
            self._other(name)

    def _load(self, match: str) -> None:
        """A match whose options are unknown may have none at all: by itself it leaves the rule in doubt."""
        if match not in FAMILIAR:
            self._matches.append(_unknown(f"-m {match}"))

    def _other(self, name: str) -> None:
        """An option of the target, or of a match that isn't understood."""
        given = " ".join(self._rest())
        if self._target:
            self._options.append((name, given))
        else:
            self._matches.append(_unknown(f"{name} {given}".strip()))

    def _rest(self) -> Iterator[str]:
        while self._words and self._words[-1] != "!" and not self._words[-1].startswith("-"):
            yield self._words.pop()

    def _value(self) -> str:
        return self._words.pop() if self._words else ""


def _split(words: Iterable[str]) -> Iterator[str]:
    """``--dport=22`` and ``-ieth0`` in two words."""
    for word in words:
        if word.startswith("--") and "=" in word:
            yield from word.split("=", 1)
        elif len(word) > 2 and word[0] == "-" and word[1] in "iosdpjmg":
            yield from (word[:2], word[2:])
        else:
            yield word


class Chains:
    """The chains of one IP version: rules by table and chain, and the built-in chains' policies."""

    def __init__(self, version: int) -> None:
        self.version = version
        self._rules: dict[tuple[str, str], list[Rule]] = {}
        self._policies: dict[tuple[str, str], tuple[Verdict, Cause]] = {}

    def declare(self, table: str, chain: str) -> None:
        """A chain, that may stay empty."""
        self._rules.setdefault((table, chain), [])

    def set_policy(self, table: str, chain: str, verdict: str, cause: Cause) -> None:
        """What becomes of a packet at a built-in chain's end."""
        self.declare(table, chain)
        if verdict in _VERDICTS:
            self._policies[table, chain] = _VERDICTS[verdict], cause

    def add(self, table: str, chain: str, text: str, cause: Cause, at: int | None = None) -> None:
        """A rule at the end of a chain, or at a position from 0 on."""
        rules = self._rules.setdefault((table, chain), [])
        rules.insert(len(rules) if at is None else at, parse(text, self.version, cause))

    def rules(self, table: str, chain: str) -> Sequence[Rule]:
        """A chain's rules."""
        return self._rules.get((table, chain), ())

    def of(self, table: str) -> Mapping[str, Sequence[Rule]]:
        """A table's chains."""
        return {chain: rules for (of, chain), rules in self._rules.items() if of == table}

    @property
    def is_empty(self) -> bool:
        """Whether there is neither rule nor policy."""
        return not any(self._rules.values()) and not self._policies

    def walk(self, table: str, chain: str, seen: Seen) -> Outcome:
        """What a chain says of a packet, its policy included."""
        outcome = run(self.rules(table, chain), seen, self.of(table))
        if outcome.verdict is Verdict.PASS and (table, chain) in self._policies:
            verdict, cause = self._policies[table, chain]
            return Outcome(verdict=verdict, cause=cause)
        return outcome

    def untracked(self, seen: Seen, chain: str = "PREROUTING") -> Seen:
        """The packet after table raw: a rule there may take it out of connection tracking."""
        for rule in self.rules("raw", chain):
            if rule.target in ("NOTRACK", "CT") and (rule.target == "NOTRACK" or _says_notrack(rule)):
                fits, _ = rule.fits(seen)
                if fits:
                    return replace(seen, packet=replace(seen.packet, state=State.UNTRACKED))
        return seen


def _says_notrack(rule: Rule) -> bool:
    return any(name == "--notrack" for name, _ in rule.options)


def run(rules: Sequence[Rule], seen: Seen, chains: Mapping[str, Sequence[Rule]]) -> Outcome:
    """What a list of rules says of a packet; ``chains`` are those that a rule may jump to."""
    for number, rule in enumerate(rules):
        fits, why = rule.fits(seen)
        if fits is False:
            continue
        taken, ends = _take(rule, seen, chains)
        if fits is None and (taken.verdict is not Verdict.PASS or ends):
            rest = run(rules[number + 1 :], seen, chains)
            return _either(taken, rest, rule, why)
        if ends or taken.verdict is not Verdict.PASS:
            return taken
    return _END


def _take(rule: Rule, seen: Seen, chains: Mapping[str, Sequence[Rule]]) -> tuple[Outcome, bool]:
    """What a rule that fits leads to, and whether its chain ends with it."""
    if rule.target in _VERDICTS:
        return Outcome(verdict=_VERDICTS[rule.target], cause=rule.cause, rule=rule), True
    if rule.target in _GOES_ON:
        return _END, False
    if rule.target == "RETURN":
        return _END, True
    if rule.target in NAT_TARGETS:
        return Outcome(verdict=Verdict.ACCEPT, cause=rule.cause, rule=rule), True
    if rule.target in chains:
        return run(chains[rule.target], seen, chains), rule.goto
    why = f"the target {rule.target} isn't understood"
    return Outcome(verdict=Verdict.UNKNOWN, cause=rule.cause, why=why, rule=rule), True


def _either(taken: Outcome, rest: Outcome, rule: Rule, why: str) -> Outcome:
    """What holds whether or not a rule fits; unknown where it depends on that."""
    same = taken.verdict is rest.verdict or (taken.verdict.stops and rest.verdict.stops)
    if same and taken.verdict is not Verdict.UNKNOWN and taken.rule == rest.rule:
        return taken
    if same and taken.verdict is not Verdict.UNKNOWN and not _translates(taken) and not _translates(rest):
        return rest if rest.verdict is taken.verdict else taken
    return Outcome(verdict=Verdict.UNKNOWN, cause=rule.cause, why=why)


def _translates(outcome: Outcome) -> bool:
    return outcome.rule is not None and outcome.rule.target in NAT_TARGETS


def load(path: str, text: str, chains: Chains) -> None:
    """Add what a file of ``iptables-save``'s form says."""
    table = "filter"
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#") or words[0] == "COMMIT":
            continue
        cause = Cause(file=path, line=number, text=line.strip())
        if words[0].startswith("*"):
            table = words[0][1:]
        elif words[0].startswith(":") and len(words) > 1:
            chains.set_policy(table, words[0][1:], words[1], cause)
        else:
            command(_uncounted(line), table, chains, cause)


def _uncounted(line: str) -> str:
    """A line without the counters before it."""
    return line.split("]", 1)[1].strip() if line.startswith("[") else line.strip()


def command(text: str, table: str, chains: Chains, cause: Cause) -> None:
    """Carry out one command as ``iptables`` takes it: ``-t``, ``-A``, ``-I``, ``-N``, ``-P``; others change no rule."""
    verb, words = "", []
    try:
        parts = _words(text)
    except ValueError:
        return
    while parts:
        word = parts.pop(0)
        if word in ("-t", "--table") and parts:
            table = parts.pop(0)
        elif not verb and word in _COMMANDS and parts:
            verb, chain = _COMMANDS[word], parts.pop(0)
        else:
            words.append(word)
    if not verb:
        return
    position = int(words.pop(0)) - 1 if verb == "I" and words and words[0].isdigit() else 0
    if verb == "N":
        chains.declare(table, chain)
    elif verb == "P" and words:
        chains.set_policy(table, chain, words[0], cause)
    elif verb in ("A", "I"):
        chains.add(table, chain, shlex.join(words), cause, position if verb == "I" else None)
