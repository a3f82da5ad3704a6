"""Two forges on loopback that know comments: as much of GitHub's and GitLab's interface as our pipelines ask for.

Sources: https://docs.github.com/en/rest/issues/comments, https://docs.gitlab.com/api/notes/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "a-token"
BOT = "github-actions[bot]"
ME = 7


@dataclass(slots=True)
class Forge:
    """A pull request's comments, and what was asked of them."""

    address: str = ""
    comments: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def add(self, body: str, login: str, author: int) -> dict[str, Any]:
        """Somebody comments."""
        comment = {"id": 100 + len(self.comments), "body": body, "user": {"login": login}, "author": {"id": author}}
        self.comments.append(comment)
        return comment

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: dict[str, str]) -> tuple[int, Any]:
        """What a forge says."""
        self.asked.append(f"{method} {path}")
        if (method, path) == ("GET", "/gitlab/user"):
            return 200, {"id": ME}
        if re.fullmatch(r"/github/repos/o/r/issues/5/comments|/gitlab/projects/9/merge_requests/5/notes", path):
            if method == "POST":
                return 201, self.add(body["body"], BOT, ME)
            if method == "GET":
                size, page = (int(query[name][0]) for name in ("per_page", "page"))
                return 200, self.comments[(page - 1) * size : page * size]
        one = r"/github/repos/o/r/issues/comments/(\d+)|/gitlab/projects/9/merge_requests/5/notes/(\d+)"
        found = re.fullmatch(one, path)
        if found and method == ("PATCH" if found[1] else "PUT"):
            (comment,) = (comment for comment in self.comments if comment["id"] == int(found[1] or found[2]))
            comment["body"] = body["body"]
            return 200, comment
        return 404, {"message": "Not Found"}


@contextmanager
def forge() -> Iterator[Forge]:
    """A forge that takes `TOKEN` alone."""
    known = Forge()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else {}
            split = urlsplit(self.path)
            allowed = TOKEN in (self.headers.get("PRIVATE-TOKEN"), self.headers.get("Authorization", "")[7:])
            code, told = known.answer(self.command, split.path, parse_qs(split.query), body) if allowed else (401, {})
            content = json.dumps(told).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815 # the server's words

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    known.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
