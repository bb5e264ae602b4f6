"""An S3 protocol server over HTTP, in a process of its own: vLLM looks into every module of its process, and moto's do not like that."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


@contextmanager
def serve_s3() -> Iterator[dict[str, str]]:
    """Start an empty server; gives the environment variables that lead S3 clients to it."""
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert server.stdout is not None
    reader, said = None, []
    try:
        for line in server.stdout:
            said.append(line)
            if found := _ADDRESS.search(line):
                break
        else:
            raise RuntimeError(f"The S3 server did not start: {''.join(said)}")
        # it writes a line a request: a pipe that nobody reads fills, and the server waits
        reader = threading.Thread(target=server.stdout.read, daemon=True)
        reader.start()
        yield {
            "AWS_ENDPOINT_URL": found[1],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.kill()
        server.wait()
        if reader:
            reader.join()
        server.stdout.close()


class Faults:
    """A server in front of another one, which does not do as it should."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.failing = ""
        """Requests of which this is a part, as `PUT /bucket/key`, are answered with 500; none where it is empty, `/` for all."""
        self.delay_s = 0.0
        """Before each answer."""
        self.hides_listings = False
        """Listings know of nothing that is there."""
        self.num_failed = 0
        self.seen: list[str] = []
        """Method and path of every request."""
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def port(self) -> int:
        return self._port

    def start(self, port: int = 0) -> None:
        """Listen; at the port of before after a stop."""
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler_of(self, urlsplit(self._url).netloc))
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Nobody listens any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _handler_of(faults: Faults, netloc: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            shown = f"{self.command} {self.path}"
            faults.seen.append(shown)
            time.sleep(faults.delay_s)
            if faults.failing and faults.failing in shown:
                faults.num_failed += 1
                self.answer(500, [], b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>")
                return
            if faults.hides_listings and "list-type=2" in self.path:
                empty = b"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>"
                self.answer(200, [("Content-Type", "application/xml")], empty)
                return
            connection = HTTPConnection(netloc, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", "connection")}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            self.answer(answer.status, answer.getheaders(), answer.read())
            connection.close()

        def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            own = {"connection", "content-length", "transfer-encoding"}
            length = next((value for name, value in headers if name.lower() == "content-length"), "0")
            for name, value in headers:
                if name.lower() not in own:
                    self.send_header(name, value)
            # of a HEAD it is the object's own
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_request

    return Handler
