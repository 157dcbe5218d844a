"""A small service on this machine that speaks the shapes of GDC's API, and misbehaves when told to.

Its answers have the fields, nesting and paging of https://docs.gdc.cancer.gov/API/Users_Guide; filters are applied.
"""

import hashlib
import json
import re
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import urlparse


class Service:
    """What the server holds, what goes wrong, and what it was asked.

    Attributes:
        contents: bytes of each file by id.
        hits: what ``/files`` and ``/cases`` know.
        faults: for each path (or "data/<id>") what happens to its next requests, one word a request: "cut" (half of
            the body, then the connection breaks), "short" (half of it, as if that were all), "busy" (503 with
            Retry-After), "error" (500), "flip" (another first byte), "whole" (no ranges), "html" (a page), "long".
        always: what happens to every request of a path that has no such word left.
        asked: (path, Range header) of every request.
        clock: when each came, in seconds.
        page: most hits of one answer; 0 gives as many as are asked for.
        most: requests for data that were served at the same time.
    """

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.hits: dict[str, list[dict[str, Any]]] = {"files": [], "cases": []}
        self.faults: dict[str, deque[str]] = defaultdict(deque)
        self.always: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.clock: list[float] = []
        self.page, self.retry_after = 0, "0"
        self.delay, self.most, self._now, self._lock = 0.0, 0, 0, Lock()
        self.url = ""

    def add(self, name: str, content: bytes, **words: Any) -> dict[str, Any]:
        """Hold a file; gives its hit, which may be changed."""
        file_id = f"{hashlib.md5(name.encode()).hexdigest()[:8]}-0000-4000-8000-000000000000"
        self.contents[file_id] = content
        case = {"submitter_id": words.pop("patient", "TCGA-2F-A9KO"), "project": {"project_id": "TCGA-BLCA"}}
        sample = {
            "submitter_id": f"{case['submitter_id']}-01A",
            "sample_type": words.pop("sample_type", "Primary Tumor"),
        }
        hit = {
            "id": file_id, "file_id": file_id, "file_name": name, "access": "open", "data_category": "Biospecimen",
            "md5sum": hashlib.md5(content).hexdigest(), "file_size": len(content), "state": "released",
            "cases": [{**case, "samples": [sample]}], **words,
        }  # fmt: skip
        self.hits["files"].append(hit)
        return hit

    def slide(self, name: str, content: bytes, **words: Any) -> dict[str, Any]:
        """Hold a diagnostic slide."""
        return self.add(name, content, data_type="Slide Image", experimental_strategy="Diagnostic Slide", **words)

    def counts(self, name: str, content: bytes, **words: Any) -> dict[str, Any]:
        """Hold a table of STAR counts."""
        workflow = {"workflow_type": "STAR - Counts"}
        return self.add(name, content, data_type="Gene Expression Quantification", analysis=workflow, **words)

    def manifest(self) -> str:
        """The files as the data portal lists them."""
        rows = [(h["file_id"], h["file_name"], h["md5sum"], h["file_size"], "released") for h in self.hits["files"]]
        return "\n".join("\t".join(map(str, row)) for row in (("id", "filename", "md5", "size", "state"), *rows)) + "\n"

    def next_fault(self, path: str) -> str:
        with self._lock:
            return self.faults[path].popleft() if self.faults[path] else self.always.get(path, "")

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            time.sleep(self.delay)
            yield
        finally:
            with self._lock:
                self._now -= 1

    def find(self, path: str, question: dict[str, Any]) -> dict[str, Any]:
        """One page of the hits that pass the filters."""
        passed = [hit for hit in self.hits[path] if _passes(hit, question["filters"])]
        key, _, order = question.get("sort", ":").partition(":")
        passed.sort(key=lambda hit: hit.get(key, ""), reverse=order == "desc")
        start, size = int(question.get("from", 0)), min(int(question.get("size", 10)), self.page or 10**6)
        hits = passed[start : start + size]
        paging = {"count": len(hits), "total": len(passed), "size": size, "from": start}
        return {"data": {"hits": hits, "pagination": paging}, "warnings": {}}


def _values(place: Any, field: str) -> list[str]:
    """Every value at a dotted path, through lists as the API does."""
    places = [place]
    for key in field.split("."):
        places = [inner for outer in places for inner in (outer if isinstance(outer, list) else [outer])]
        places = [outer[key] for outer in places if isinstance(outer, dict) and key in outer]
    return [str(value) for value in places]


def _passes(hit: dict[str, Any], filters: dict[str, Any]) -> bool:
    if filters["op"] == "and":
        return all(_passes(hit, term) for term in filters["content"])
    assert filters["op"] == "in"
    return bool(set(_values(hit, filters["content"]["field"])) & set(filters["content"]["value"]))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def log_message(self, *words: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(lambda path: json.dumps(self.service.find(path, body)).encode())

    def do_GET(self) -> None:
        path = urlparse(self.path).path.strip("/")
        if path.startswith("data/"):
            with self.service.counted():
                self._send_data(path)
        else:
            self._answer(self._fixed)

    def _fixed(self, path: str) -> bytes:
        projects = {"data": {"hits": [{"project_id": "TCGA-BLCA"}, {"project_id": "TCGA-LUAD"}]}}
        projects["data"]["pagination"] = {"total": 2}
        return json.dumps({"projects": projects, "status": {"data_release": "Data Release 43.0"}}[path]).encode()

    def _answer(self, make: Any) -> None:
        path = urlparse(self.path).path.strip("/")
        self.service.asked.append((path, ""))
        self.service.clock.append(time.monotonic())
        fault = self.service.next_fault(path)
        if not self._refused(fault):
            body = b"<!DOCTYPE html><html>down</html>" if fault == "html" else make(path)
            self._send(200, body, fault=fault)

    def _refused(self, fault: str) -> bool:
        if fault == "busy":
            self._send(503, b"{}", {"Retry-After": self.service.retry_after})
        if fault == "error":
            self._send(500, b'{"message": "internal"}')
        return fault in ("busy", "error")

    def _send_data(self, path: str) -> None:
        service, file_id, asked = self.service, path.removeprefix("data/"), self.headers.get("Range", "")
        service.asked.append((path, asked))
        service.clock.append(time.monotonic())
        fault = service.next_fault(path)
        if self._refused(fault):
            return
        if file_id not in service.contents:
            self._send(404, b'{"message": "file not found"}')
            return
        content = service.contents[file_id]
        if fault == "flip":
            content = bytes([content[0] ^ 1]) + content[1:]
        if fault == "long":
            content += b"more"
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
        if wanted is None or fault == "whole":
            self._send(200, content, fault=fault)
            return
        start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(content))
        if start >= len(content):
            self._send(416, b"")
            return
        told = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
        self._send(206, content[start:stop], told, fault=fault)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, *, fault: str = "") -> None:
        sent = body[: len(body) // 2] if fault in ("cut", "short") else body
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(sent) if fault == "short" else len(body)))
        self.end_headers()
        self.wfile.write(sent)
        if fault == "cut":
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()


@contextmanager
def serving() -> Iterator[Service]:
    """Run a service until the block ends."""
    service = Service()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"service": service}))
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
