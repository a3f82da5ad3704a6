"""A new site: a small working example with its hooks, schemas and a README, for whoever starts one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from kvmgen import __version__
from kvmgen.inventory.read import FOLDERS, SITE_FILE
from kvmgen.inventory.schema import schema_folder

_FILES = Path(__file__).parent / "files"

STARTER: Mapping[str, str] = MappingProxyType(
    {
        ".gitattributes": "gitattributes",
        ".github/workflows/kvmgen.yaml": "github-workflow.yaml",
        ".gitlab-ci.yml": "gitlab-ci.yaml",
        ".pre-commit-config.yaml": "pre-commit-config.yaml",
        ".vscode/settings.json": "vscode-settings.json",
        "README.md": "README.md",
        "requirements.txt": "requirements.txt",
        "inventory/site.yaml": "site.yaml",
        "inventory/hosts/kvm01.yaml": "host.yaml",
        "inventory/networks/default.yaml": "network.yaml",
        "inventory/guests/web01.yaml": "guest.yaml",
        "inventory/policies/web.yaml": "policy.yaml",
    }
)
"""What a new site has, and the file of `starter/files/` that it is made from."""


def files(folder: Path, name: str) -> dict[str, str]:
    """The texts of a new site called ``name``, by path; a README that is there already stays."""
    texts = {
        path: (_FILES / file).read_text(encoding="utf-8").replace("@NAME@", name).replace("@VERSION@", __version__)
        for path, file in STARTER.items()
    }
    if (folder / "README.md").exists():
        del texts["README.md"]
    return texts | {f"schemas/{path}": text for path, text in schemas().items()}


def name_for(folder: Path) -> str:
    """A site's name from its folder's."""
    return re.sub(r"[^A-Za-z0-9_.-]+|^[^A-Za-z0-9]+", "-", folder.resolve().name).strip("-.") or "site"


def in_the_way(folder: Path, texts: Mapping[str, str]) -> list[str]:
    """What a new site would take the place of."""
    return sorted(path for path in (*texts, "output") if (folder / path).exists())


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write texts below a folder, which is made where it is missing.

    Raises:
        OSError: a file can't be written.
    """
    for path, text in texts.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")


def schemas() -> dict[str, str]:
    """The schemas by file name."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(schema_folder().glob("*.schema.json"))}


def catalogue() -> str:
    """The installed schemas in SchemaStore's form, for the YAML language server's ``yaml.schemaStore.url``.

    The server fetches a catalogue by http and https alone; the schemas that it names are files of this machine.

    Source: https://json.schemastore.org/schema-catalog.json.
    """
    return json.dumps({"version": 1, "schemas": list(_catalogued())}, indent=2)


def _catalogued() -> Iterator[dict[str, object]]:
    patterns = {"site": SITE_FILE} | {kind: f"{folder}/*.yaml" for folder, kind in FOLDERS.items()}
    for kind, pattern in patterns.items():
        schema = json.loads(schemas()[f"{kind}.schema.json"])
        yield {
            "name": f"kvmgen {kind}",
            "description": schema["description"],
            "fileMatch": [f"**/inventory/{pattern}"],
            "url": (schema_folder() / f"{kind}.schema.json").as_uri(),
        }
