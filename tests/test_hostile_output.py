"""Every command on a site whose every free text is hostile: nothing of it is obeyed by a terminal, a log or a forge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvmgen.report import MACHINE_FORMATS
from tests.hostile import as_yaml
from tests.sites import write
from tests.test_cli import run
from tests.test_starter import git

TEXT = (
    'x ##[add-mask]x ::stop-commands::y </title><script>alert(1)</script> "]; end --> <!-- @all [x](https://x.invalid)'
    " %0A::error::z | `$(touch pwned)` %%{init: {}}%% \u200b\ufeff\u00ad\u200f\u061c\U000e0041"
)
"""What the schemas allow in a text: commands of workflows, markup, and characters that nobody sees."""
LINES = "::add-mask::x\n::error file=x::y\n\x1b[2J\x1b]0;x\x07\r\u202egpj\u2066##[group]"
"""What cloud-init may be told beside: lines, control codes and what turns lines round."""

SITE = {
    "site.yaml": "name: test\n",
    "hosts/kvm1.yaml": {
        "platform": "el9",
        "description": TEXT,
        "ethernets": {"em1": {}},
        "bridges": {"br0": {"ports": ["em1"], "addresses": ["192.0.2.1/24"]}},
        "firewall": {"zones": {"office": {"description": TEXT, "sources": ["198.51.100.0/24"]}}},
    },
    "networks/lab.yaml": {
        "hosts": {"kvm1": {}},
        "forward": "nat",
        "bridge": {"name": "virbr7"},
        "addresses": ["203.0.113.1/24"],
        "dns": {"txt": [{"name": "x", "value": TEXT.replace('"', "").replace(",", "")}]},
    },
    "filters/own.yaml": {
        "rules": [
            {"priority": 1, "action": "accept", "direction": "in", "tcp": {"comment": "::error file=x::y #x"}},
            {"priority": 2, "action": "accept", "direction": "inout", "mac": {"comment": "##x"}},
        ]
    },
    "guests/web1.yaml": {
        "hosts": ["kvm1"],
        "title": TEXT,
        "description": TEXT,
        "cloud-init": {"user-data": {LINES: TEXT, "runcmd": [["echo", LINES]]}},
        "disks": {"vda": {"file": f"/{TEXT}"}},
        "interfaces": {
            "eth0": {"bridge": "br0", "filter": "own", "addresses": ["192.0.2.10/24"]},
            "eth1": {"network": "lab", "addresses": ["203.0.113.10/24"]},
        },
    },
}
COMMANDS = [
    *(("show", kind, name) for kind, name in (("host", "kvm1"), ("network", "lab"), ("filter", "own"))),
    *(("show", "guest", "web1", "--format", format_) for format_ in ("text", "json")),
    *(
        ("graph", "--view", view, "--format", to)
        for view in ("logical", "physical")
        for to in ("mermaid", "svg", "dot")
    ),
    *(("reach", "outside", "web1", "--tcp", "22", "--format", format_) for format_ in ("text", "json")),
    *(("reach", "--matrix", "--format", format_) for format_ in ("text", "json", "csv")),
    *(("reach", "--matrix", "--format", format_) for format_ in ("text", "json", "csv")),
    *(("validate", "--format", format_) for format_ in ("text", *MACHINE_FORMATS)),
]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {name: text if isinstance(text, str) else as_yaml(text) for name, text in SITE.items()}
    write(tmp_path / "inventory", files)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def harmless(said: str, *, github: bool = False) -> None:
    """Nothing but printable lines; none is a command but those that are meant."""
    lines = said.split("\n")
    assert [line for line in lines if not line.isprintable()] == []
    assert [line for line in lines if "##[" in line] == []
    commands = [line for line in lines if line.lstrip().startswith("::")]
    ours = ("::error file=inventory/", "::warning file=inventory/", "::error file=output/", "::error title=KV")
    assert [line for line in commands if not (github and line.startswith(ours))] == []


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_right_site(command: tuple[str, ...], site: Path) -> None:
    code, out, err = run(*command)
    assert code == 0, err
    harmless(out, github="github" in command)
    harmless(err)


def test_every_file_and_line_explained(site: Path) -> None:
    code, out, err = run("build")
    assert code == 0, err
    harmless(out + err)
    for path in sorted(path for path in (site / "output").rglob("*") if path.is_file()):
        lines = 0 if path.suffix == ".iso" else len(path.read_text().splitlines())
        for what in ("", *([f":1-{lines}"] if lines else [])):
            for format_ in ("text", "json"):
                code, out, err = run("explain", f"{path.relative_to(site)}{what}", "--format", format_)
                assert code == 0, err
                harmless(out)


@pytest.mark.parametrize("format_", ["text", "json", "markdown", "html"])
def test_a_change(format_: str, site: Path) -> None:
    """From a site without such texts to this one; the HTML has no script that isn't the page's."""
    hostile = {path: path.read_text() for path in (site / "inventory").rglob("*.yaml")}
    for path, text in hostile.items():
        path.write_text(text.replace(as_yaml(TEXT)[1:-1], "x").replace(as_yaml(LINES)[1:-1], "x"))
    assert run("build")[0] == 0
    git(site, "init", "--quiet")
    git(site, "add", ".")
    git(site, "commit", "--quiet", "--message", "A site")
    for path, text in hostile.items():
        path.write_text(text)
    code, out, err = run("diff", "--format", format_)
    assert code == 0, err
    harmless(out)
    harmless(err)
    assert "add-mask" in out
    assert format_ != "html" or "<script>alert" not in out


NAMES = (
    "::error::x.yaml",
    "x\n::add-mask::x.yaml",
    "\x1b[2Jx.yaml",
    "x ##[group]y.yaml",
    "x\u202elmay.yaml",
    "\udcff.yaml",
)
WRONG = {
    "guests/wrong1.yaml": as_yaml({"hosts": [LINES, TEXT], LINES: 1, TEXT: {LINES: TEXT}, "memory": LINES}),
    "guests/wrong2.yaml": f"hosts: [kvm1]\ntitle: {json.dumps(LINES)}\nmachine: {json.dumps(TEXT)}\n",
    "guests/wrong3.yaml": f"hosts: [kvm1]\n# kvmgen: ignore KV401 -- {TEXT}\n? [x]\n: {json.dumps(TEXT)}\n",
    "guests/wrong4.yaml": as_yaml({"hosts": ["kvm1"], "interfaces": {LINES: {}, TEXT: {"bridge": TEXT}}}),
    "guests/wrong5.yaml": "hosts: [kvm1]\n# kvmgen: ignore KV299 -- ::error::x ##[group]\nmemory: 2 GiB\n",
}


@pytest.mark.parametrize("format_", ["text", *MACHINE_FORMATS])
def test_a_wrong_site(format_: str, site: Path) -> None:
    """Names of files as well: a pull request brings what it likes."""
    write(site / "inventory", WRONG)
    for name in NAMES:
        (site / f"inventory/guests/{name}").write_text("hosts: [kvm1]\n")
        (site / f"output/kvm1/{name}").parent.mkdir(parents=True, exist_ok=True)
        (site / f"output/kvm1/{name}").write_text("x")
    for command in (("validate",), ("build",), ("build", "--check")):
        code, out, err = run(*command, "--format", format_)
        assert code == 1
        harmless(out, github=format_ == "github")
        harmless(err)
        assert "KV006" in out + err
        assert "](https" not in out or format_ != "sarif", "GitHub shows it as a link"
