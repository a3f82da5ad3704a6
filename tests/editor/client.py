"""As much of the language server protocol as an editor needs that opens a file, asks, and types nothing.

Source: https://microsoft.github.io/language-server-protocol/specifications/lsp/3.17/specification/.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

from tests.sites import ROOT

CAPABILITIES = {
    "textDocument": {
        "completion": {"completionItem": {"documentationFormat": ["markdown"], "snippetSupport": True}},
        "hover": {"contentFormat": ["markdown"]},
        "publishDiagnostics": {},
    },
    "workspace": {"configuration": True, "workspaceFolders": True},
}


class Editor:
    """A conversation with the YAML language server about the files of one folder."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, settings: dict[str, Any]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in: IO[bytes] = process.stdin
        self._out: IO[bytes] = process.stdout
        self._settings = settings
        self._numbers = count(1)
        self._problems: dict[str, list[str]] = {}
        self._ready = False
        self._open: set[str] = set()
        root = {"uri": folder.as_uri(), "name": folder.name}
        options = {"processId": None, "rootUri": folder.as_uri(), "workspaceFolders": [root]}
        self._ask("initialize", {**options, "capabilities": CAPABILITIES})
        self._tell("initialized", {})
        self._tell("yaml/supportSchemaSelection", {})
        self._tell("workspace/didChangeConfiguration", {"settings": settings})
        while not self._ready:  # what it said of a file before it knew its settings would be another answer
            self._hear(self._read())

    def problems(self, file: Path, text: str) -> list[str]:
        """Open a file as if it held this text, and return what the server says is wrong with it."""
        uri = file.as_uri()
        if uri in self._open:
            self._problems_after(uri, "textDocument/didClose", {"uri": uri})
        self._open.add(uri)
        document = {"uri": uri, "languageId": "yaml", "version": next(self._numbers), "text": text}
        return self._problems_after(uri, "textDocument/didOpen", document)

    def _problems_after(self, uri: str, method: str, document: dict[str, Any]) -> list[str]:
        self._problems.pop(uri, None)
        self._tell(method, {"textDocument": document})
        while uri not in self._problems:
            self._hear(self._read())
        return self._problems[uri]

    def completions(self, file: Path, line: int, column: int) -> dict[str, str]:
        """What can be written at a place of an opened file, with what is shown beside it."""
        found = self._ask("textDocument/completion", _at(file, line, column))
        return {item["label"]: _text(item.get("documentation", "")) for item in found["items"]}

    def hover(self, file: Path, line: int, column: int) -> str:
        """What is shown where the pointer rests."""
        found = self._ask("textDocument/hover", _at(file, line, column))
        return _text(found["contents"]) if found else ""

    def end(self) -> None:
        self._ask("shutdown", None)
        self._tell("exit", None)

    def _ask(self, method: str, parameters: Any) -> Any:
        number = next(self._numbers)
        self._send({"id": number, "method": method, "params": parameters})
        while True:
            message = self._read()
            if message.get("id") == number and "method" not in message:
                assert "error" not in message, message
                return message["result"]
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        """What the server says or asks by itself."""
        self._ready = self._ready or message.get("method") == "yaml/schema/store/initialized"
        if message.get("method") == "textDocument/publishDiagnostics":
            told = message["params"]
            self._problems[told["uri"]] = [problem["message"] for problem in told["diagnostics"]]
        if "id" in message:
            asked = message["params"].get("items", []) if message["method"] == "workspace/configuration" else None
            answer = None if asked is None else [self._settings.get(item["section"]) for item in asked]
            self._send({"id": message["id"], "result": answer})

    def _tell(self, method: str, parameters: Any) -> None:
        self._send({"method": method, "params": parameters})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._in.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._in.flush()

    def _read(self) -> dict[str, Any]:
        length = 0
        while (line := self._out.readline().strip()) or not length:
            name, _, value = line.partition(b":")
            assert name, "the server has ended"
            length = int(value) if name.lower() == b"content-length" else length
        message: dict[str, Any] = json.loads(self._out.read(length))
        return message


def _at(file: Path, line: int, column: int) -> dict[str, Any]:
    return {"textDocument": {"uri": file.as_uri()}, "position": {"line": line, "character": column}}


def _text(documentation: Any) -> str:
    return str(documentation["value"] if isinstance(documentation, dict) else documentation)


@contextmanager
def editor(folder: Path, settings: dict[str, Any]) -> Iterator[Editor]:
    """The pinned language server, started for a folder, with an editor's settings."""
    fetched = subprocess.run([ROOT / "tests" / "fetch-language-server"], check=True, capture_output=True, text=True)
    command = [*fetched.stdout.split("\n")[:2], "--stdio"]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            started = Editor(process, folder, settings)
            yield started
            started.end()
            process.wait(timeout=10)
        finally:
            process.kill()
