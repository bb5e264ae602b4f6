"""The wire to an OpenAI-compatible server: the only file that imports openai. Owns the client's thread, and keeps the key to itself.

What is asked when, and what is asked again, is endpoint.py's; the openai client's own retries are off.
"""

import asyncio
import json
import threading
from collections.abc import Awaitable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import openai

from engine.records import Messages
from engine.replies import Fault, Refusal, Reply, read_reply, read_status

Result = TypeVar("Result")

CONNECT_S = 10.0
MAX_LISTING_S = 30.0
_MIN_HIDDEN_CHARS = 6
"""A key that is shorter («none») is no secret, and would be found in every other text."""


class ChatClient:
    """Asks one server, many things at a time; every text that comes back is without the key, which some servers repeat."""

    def __init__(self, base_url: str, api_key: str | None, timeout_s: float) -> None:
        """`timeout_s` is for a whole reply."""
        self._base_url, self._key, self._timeout_s = base_url, api_key, timeout_s
        self._loop = asyncio.new_event_loop()
        # a daemon: an interpreter that ends does not wait for a server that hangs
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()
        self._client = self._await(self._open())

    def ask(self, model: str, messages: Messages, body: dict[str, Any]) -> "Future[Reply | Refusal]":
        """Begin one try; `body` is sent beside model and messages. A future that is cancelled closes its connection."""
        return asyncio.run_coroutine_threadsafe(self._ask(model, messages, body), self._loop)

    def list_models(self) -> tuple[str, ...] | Refusal:
        """The models that the server lists; none where its list cannot be read."""
        listing = self._await(self._receive(self._list(), min(self._timeout_s, MAX_LISTING_S)))
        return listing if isinstance(listing, Refusal) else _read_names(listing)

    def hide(self, text: str) -> str:
        """The text without the key."""
        return text.replace(self._key, "***") if self._key and len(self._key) >= _MIN_HIDDEN_CHARS else text

    def close(self) -> None:
        """End connections and thread; a second call does nothing."""
        if self._loop.is_closed():
            return
        self._await(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> openai.AsyncOpenAI:
        timeout = openai.Timeout(self._timeout_s, connect=min(self._timeout_s, CONNECT_S))
        return openai.AsyncOpenAI(base_url=self._base_url, api_key=self._key or "none", max_retries=0, timeout=timeout)

    async def _ask(self, model: str, messages: Messages, body: dict[str, Any]) -> Reply | Refusal:
        told: Any = [{"role": role, "content": content} for role, content in messages]
        create = self._client.chat.completions.with_raw_response.create
        reply = await self._receive(create(model=model, messages=told, extra_body=body), self._timeout_s)
        return reply if isinstance(reply, Refusal) else read_reply(reply)

    async def _list(self) -> Any:
        return await self._client.models.with_raw_response.list()

    async def _receive(self, asked: Awaitable[Any], timeout_s: float) -> str | Refusal:
        """The body of a reply that is good by its status."""
        try:
            async with asyncio.timeout(timeout_s):  # in all; the client's own limit is between two bytes
                return self.hide((await asked).text)
        except (TimeoutError, openai.APITimeoutError):
            return Refusal(fault=Fault.TIMEOUT, message=f"no answer within timeout_s={timeout_s:g}")
        except openai.APIStatusError as error:
            return read_status(error.status_code, error.response.headers, self.hide(error.response.text))
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            is_there = type(cause).__name__ != "ConnectError"  # httpx's or httpx2's, by the version of openai
            met = self.hide(str(cause)) or type(cause).__name__
            return Refusal(fault=Fault.TRANSPORT if is_there else Fault.UNREACHABLE, message=f"the connection failed ({met})")

    def _await(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _read_names(listing: str) -> tuple[str, ...]:
    try:
        return tuple(str(entry["id"])[:100] for entry in json.loads(listing)["data"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ()
