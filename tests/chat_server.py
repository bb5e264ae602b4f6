"""A real HTTP server that speaks enough of OpenAI's interface, and fails in the ways that such servers do."""

import json
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    body: dict[str, Any]
    headers: dict[str, str]
    """By name in lower case."""
    number: int
    """How often this prompt has been asked, from 1."""

    @property
    def prompt(self) -> str:
        """The last message."""
        return str(self.body["messages"][-1]["content"])

    @property
    def schema(self) -> dict[str, Any] | None:
        """What the answer must follow."""
        told = self.body.get("response_format")
        return None if told is None else dict(told["json_schema"]["schema"])


@dataclass(frozen=True)
class Answer:
    """What the server does: a status with a body, or less than that."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    num_cut: int = 0
    """Bytes of the body that are promised and never sent."""
    is_closed: bool = False
    """The connection is closed without a word."""
    byte_s: float = 0.0
    """Before each byte of the body."""
    is_hung: bool = False
    """Nothing is said until the server ends."""


def say(text: str | None, finish_reason: str | None = "stop", *, usage: dict[str, Any] | None = None, **message: Any) -> Answer:
    """A chat completion; 10 prompt tokens, and a token for each four characters."""
    counted = {"prompt_tokens": 10, "completion_tokens": -(-len(text or "") // 4)} if usage is None else usage
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
    return Answer(json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": counted}).encode())


def refuse(status: int, message: str, **headers: str) -> Answer:
    """An error as OpenAI words it; `_` in a header's name stands for `-`."""
    body = json.dumps({"error": {"message": message, "type": "error", "code": None}}).encode()
    return Answer(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


class ChatServer:
    """Answers on a port of this machine from `with` on; `asked` has what came in."""

    def __init__(self, answer: Callable[[Asked], Answer], *, key: str | None = None, models: tuple[str, ...] | None = ("m",)) -> None:
        """With a key it is asked for; `models` None is a server without a list of them."""
        self.answer, self._key, self._models = answer, key, models
        self.asked: list[Asked] = []
        self.num_in_flight = self.max_in_flight = self.num_listed = 0
        self._counts: Counter[str] = Counter()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()

    def is_welcome(self, headers: dict[str, str]) -> bool:
        """Whether the key came with it."""
        return self._key is None or headers.get("authorization") == f"Bearer {self._key}"

    def list_models(self) -> Answer:
        self.num_listed += 1
        if self._models is None:
            return refuse(404, "Not Found")
        return Answer(json.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in self._models]}).encode())

    @contextmanager
    def taking(self, body: dict[str, Any], headers: dict[str, str]) -> Iterator[Asked]:
        with self._lock:
            prompt = json.dumps(body["messages"])
            self._counts[prompt] += 1
            asked = Asked(body, headers, self._counts[prompt])
            self.asked.append(asked)
            self.num_in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.num_in_flight)
        try:
            yield asked
        finally:
            with self._lock:
                self.num_in_flight -= 1

    def hang(self, line: socket.socket) -> None:
        """Until the server ends, or who asked hangs up."""
        while not self._ended.is_set():
            if select.select([line], [], [], 0.02)[0] and not line.recv(1, socket.MSG_PEEK):
                return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._lines: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._lines.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._lines.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that clients keep open: who has them would be answered on."""
        for line in list(self._lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that is gone is no error here
            super().handle_error(request, client_address)


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply(server.list_models() if server.is_welcome(self._given()) else self._not_welcome())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = self._given()
            if not server.is_welcome(headers):
                self._reply(self._not_welcome())
                return
            with server.taking(body, headers) as asked:
                answer = server.answer(asked)
                if answer.is_hung:
                    server.hang(self.connection)
            self._reply(answer)

        def _given(self) -> dict[str, str]:
            return {name.lower(): value for name, value in self.headers.items()}

        def _not_welcome(self) -> Answer:
            # as some servers do: with the key that was given
            return refuse(401, f"Incorrect API key provided: {self.headers.get('Authorization', 'none').removeprefix('Bearer ')}")

        def _reply(self, answer: Answer) -> None:
            if answer.is_closed or answer.is_hung:
                self.close_connection = True
                return
            try:
                self.send_response(answer.status)
                for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body) + answer.num_cut))
                self.end_headers()
                for byte in answer.body if answer.byte_s else ():
                    time.sleep(answer.byte_s)
                    self.wfile.write(bytes([byte]))
                self.wfile.write(b"" if answer.byte_s else answer.body)
                self.close_connection = self.close_connection or bool(answer.num_cut)
            except OSError:
                self.close_connection = True  # whoever asked is gone

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler
