"""Silences where a case of the rules KV008 and KV009 can't show them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmgen import pipeline
from kvmgen.inventory.silence import find_silences
from tests.sites import SMALL, write

SILENCE = "# kvmgen: ignore KV201 -- as it was called before"
HOST = f"platform: el7\nbridges:\n  virbr1: {{}}  {SILENCE}\n  {SILENCE}\n  virbr2: {{}}\n"
UNUSED = f"platform: el7  {SILENCE}\n"


def codes(inventory: Path) -> list[str]:
    return [diagnostic.rule.code for diagnostic in pipeline.validate(inventory).diagnostics]


def test_no_silence_is_called_unused_while_the_site_has_errors(tmp_path: Path) -> None:
    """What it silences may be what couldn't be looked at; one that can't be understood is wrong in any case."""
    inventory = write(tmp_path, {**SMALL, "hosts/kvm3.yaml": UNUSED + "# kvmgen: ignored\n"})
    assert codes(inventory) == ["KV009", "KV008"]
    write(inventory, {"guests/web2.yaml": "hosts: [kvm9]\n"})
    assert codes(inventory) == ["KV020", "KV009"]
    write(inventory, {"guests/web2.yaml": "hosts: [\n"})
    assert codes(inventory) == ["KV002", "KV009"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_lines_end_as_yaml_lets_them(tmp_path: Path, line_end: str) -> None:
    inventory = write(tmp_path, SMALL)
    (inventory / "hosts/kvm3.yaml").write_bytes(HOST.replace("\n", line_end).encode())
    assert codes(inventory) == []


def test_a_silence_in_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    assert codes(write(tmp_path, {**SMALL, "hosts/kvm3.yaml": f"[ {SILENCE}\n"})) == ["KV002"]


@pytest.mark.parametrize(
    "text",
    [
        f'title: "{SILENCE}"\n',
        f"title: 'web {SILENCE}'\n",
        f"title: 'web\n  {SILENCE}\n  two'\n",
        f"title: |-\n  {SILENCE}\n",
        f"title: >-\n  web\n  {SILENCE}\n\n",
        f"title: web{SILENCE}\n",
        "title: what kvmgen: ignore means\n",
    ],
)
def test_a_string_silences_nothing(text: str) -> None:
    assert list(find_silences("guests/web1.yaml", text)) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"title: web {SILENCE}", 1),
        (f"title: 'web' {SILENCE}\nb: 1", 1),
        (f"title: |- {SILENCE}\n  web", 1),
        (f"title: |-\n  web\n\n{SILENCE}\nmac: x", 5),
        (f"{SILENCE}\n  # and more of it\n\nb: 1", 3),
        (SILENCE, 1),
    ],
)
def test_the_line_that_a_comment_speaks_of(text: str, line: int) -> None:
    (silence,) = find_silences("guests/web1.yaml", text)
    assert (silence.codes, silence.line) == (("KV201",), line)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([SILENCE, "'", '"', "|", "\n", "\r\n", "  ", "a: ", "- ", "# ", "é", "\x00"]), max_size=9)
)
def test_no_text_is_too_strange(parts: list[str]) -> None:
    for silence in find_silences("x.yaml", "".join(parts)):
        assert silence.line >= silence.position.line
