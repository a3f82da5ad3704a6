"""For whatever shows the results of tests: JUnit's XML, in the form that Jenkins wrote down.

Each error is a test that failed, each warning one that was skipped: it is told and fails nothing. Where nothing is
wrong there is one test, and it passed, for a report without tests reads like a job that didn't run.

Source: https://github.com/jenkinsci/xunit-plugin/blob/master/src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from kvmgen.diagnostics import Severity
from kvmgen.report.located import Located, Place
from kvmgen.report.printed import plain
from kvmgen.report.repository import from_top

_ELEMENTS = {Severity.ERROR: "failure", Severity.WARNING: "skipped"}


def report(found: Sequence[Located]) -> str:
    """One suite, whose tests are what was found."""
    suite = Element("testsuite", {"name": "kvmgen", **_counts(found)})
    for one in found:
        _test(suite, one)
    if not found:
        SubElement(suite, "testcase", {"classname": "kvmgen", "name": "nothing is wrong"})
    root = Element("testsuites")
    root.append(suite)
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}'


def _counts(found: Sequence[Located]) -> dict[str, str]:
    severities = [one.rule.severity for one in found]
    return {
        "tests": str(len(found) or 1),
        "failures": str(severities.count(Severity.ERROR)),
        "errors": "0",  # JUnit's errors are tests that broke, not what they found
        "skipped": str(severities.count(Severity.WARNING)),
    }


def _test(suite: Element, one: Located) -> None:
    file = from_top(one.place.file) if one.place else "kvmgen"
    message = plain(one.message)
    test = SubElement(suite, "testcase", {"classname": plain(file), "name": f"{one.rule.code}: {message}"})
    what = SubElement(test, _ELEMENTS[one.rule.severity], {"type": one.rule.code, "message": message})
    what.text = "\n".join(map(plain, _lines(one)))


def _lines(one: Located) -> Iterator[str]:
    """Each starts with a word of ours: none can be a command in a job's log."""
    yield f"{one.rule.severity}: {one.message}"
    if one.place is not None:
        yield f"at {_where(one.place)}"
    yield from (f"see {_where(place)}: {what}" for place, what in one.related)
    yield from (f"way: {step}" for step in one.trace)
    yield f"hint: {one.hint}"


def _where(place: Place) -> str:
    return f"{from_top(place.file)}:{place.line}:{place.column}"
