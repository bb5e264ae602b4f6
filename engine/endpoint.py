"""Any OpenAI-compatible server as an engine.

Owns what is asked when, what is asked again, and what a call took. What a reply means is replies.py's, how many at once concurrency.py's.
"""

import heapq
import json
import logging
import queue
import random
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import count
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from engine.client import ChatClient
from engine.concurrency import AdaptiveLimit
from engine.json_schema import find_fault, find_violation
from engine.meter import SharedClock
from engine.models import Model
from engine.protocol import GIVEN_UP, EngineError, EngineRefusedError, Steps
from engine.pull import Puller
from engine.records import Completion, Outcome, Request, fail
from engine.replies import Fault, Refusal, Reply, Usage

logger = logging.getLogger(__name__)

TICK_S = 0.2
"""While nothing comes, so often the source is asked again: a job may have been handed in."""
MAX_WAIT_S = 30.0
"""Before another try, where the server does not say how long."""
MAX_RETRY_AFTER_S = 600.0
"""A server that wants to be left alone for longer is not waited for: the run ends, and a later one goes on."""
MAX_THROTTLED_S = 900.0
"""So long one request is put off by a server that is asked too much, before it counts as failed."""
MAX_DENIED = 8
"""Requests that in a row meet status 403 or 404, without an answer in between, before it counts as said of all."""
NUM_GREETINGS = 4
"""Tries at the start, before a server counts as not there."""
_PASSED_ON = ("temperature", "seed", "top_p", "top_k", "min_p", "stop", "presence_penalty", "frequency_penalty", "repetition_penalty")
"""Settings of Sampling that have the same name in a request."""

_Try = Future[Reply | Refusal]


@dataclass(slots=True)
class _Asking:
    """A request until it has its completion; what it says of one try is of the last."""

    request: Request
    num_failed: int = 0
    """Tries that brought nothing, those apart that met a full server."""
    num_throttled: int = 0
    throttled_at: float = 0.0
    """When it first met a full server."""
    first_sent_at: float = 0.0
    sent_at: float = 0.0
    epoch: int = 0
    is_full: bool = False
    """Whether as many as allowed were in flight."""
    has_schema: bool = False
    """Whether the server was told the schema."""
    limit_name: str = "max_tokens"
    """What the output limit was called."""
    work_at: float = 0.0
    """The shared clock when it was sent."""
    engine_seconds: float = 0.0
    """Its share of all tries."""


class EndpointEngine:
    """Asks one model of one server; requests must have messages, for the server has the chat template."""

    def __init__(
        self,
        model: Model,
        *,
        base_url: str,
        api_key: str | None = None,
        max_in_flight: int = 64,
        timeout_s: float = 600.0,
        max_retries: int = 5,
        extra_body: dict[str, Any] | None = None,
        first_wait_s: float = 0.5,
    ) -> None:
        """`model.revision` is the model's name at the server; `extra_body` is added to every request, over what stands there.

        `max_retries` more tries are made where nothing comes that can be read, the first after `first_wait_s`, each later one after twice
        as long, less a random half at most. Raises EngineRefusedError where nobody listens at the address, or the key is not taken.
        """
        self._model, self._base_url, self._max_retries, self._extra = model, base_url, max_retries, dict(extra_body or {})
        self.max_in_flight, self._first_wait_s = max_in_flight, first_wait_s
        self.build = f"endpoint {urlsplit(base_url).netloc}"
        self.steps, self.block_size = Steps(), None  # nobody sees into a server
        self.determinism = "seeded" if "seed" in self._extra else "none"
        self._limit, self._clock = AdaptiveLimit(max_in_flight), SharedClock()
        self._refused_schemas: set[str] = set()
        self._limit_name = "max_tokens"
        self._num_denied = 0  # since the last answer
        self._warned: set[str] = set()
        self._left_alone_until = self._answered_at = 0.0
        self._listed: tuple[str, ...] = ()
        self._client = ChatClient(base_url, api_key, timeout_s)
        try:
            self._greet()
        except BaseException:
            self._client.close()
            raise

    @property
    def busy_seconds(self) -> float:
        """Time for which at least one request was in flight."""
        return self._clock.busy_seconds

    def run(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """As the protocol says. Raises EngineRefusedError where the server refuses the key or the model, or wants a long rest,
        and EngineError where it is gone.
        """
        source, ready, put_off = Puller(requests), deque[_Asking](), list[tuple[float, int, _Asking]]()
        in_flight: dict[_Try, _Asking] = {}
        ended: queue.SimpleQueue[_Try] = queue.SimpleQueue()
        try:
            while not source.is_exhausted or ready or put_off or in_flight:
                for request in source.pull(len(ready) + len(put_off) + len(in_flight), self.max_in_flight):
                    if reason := _find_unaskable(request):
                        yield fail(request, Outcome.ENGINE_ERROR, reason, finish_reason=GIVEN_UP)
                    else:
                        ready.append(_Asking(request))
                now = time.monotonic()
                while put_off and put_off[0][0] <= now:
                    ready.appendleft(heapq.heappop(put_off)[2])
                while ready and len(in_flight) < self._limit.limit and now >= self._left_alone_until:
                    asking = ready.popleft()
                    attempt = self._send(asking, len(in_flight))
                    in_flight[attempt] = asking
                    attempt.add_done_callback(ended.put)
                for attempt in _take(ended, TICK_S) if ready or put_off or in_flight else ():
                    self._clock.advance(len(in_flight))
                    asking = in_flight.pop(attempt)
                    asking.engine_seconds += self._clock.shared - asking.work_at
                    result = self._settle(asking, attempt.result())
                    if isinstance(result, Completion):
                        yield result
                    else:
                        heapq.heappush(put_off, (time.monotonic() + result, id(asking), asking))
        finally:
            self._clock.advance(len(in_flight))
            for attempt in in_flight:
                attempt.cancel()

    def _send(self, asking: _Asking, num_in_flight: int) -> _Try:
        self._clock.advance(num_in_flight)
        sampling = asking.request.sampling
        asking.first_sent_at = asking.first_sent_at or time.monotonic()
        asking.sent_at, asking.work_at, asking.epoch = time.monotonic(), self._clock.shared, self._limit.epoch
        asking.is_full = num_in_flight + 1 >= self._limit.limit
        asking.has_schema, asking.limit_name = sampling.json_schema not in {None, *self._refused_schemas}, self._limit_name
        settings = sampling.settings()
        # of what OpenAI's own interface lacks only what was set is sent: a server that does not know it says so
        body = {name: settings[name] for name in _PASSED_ON if settings.get(name) is not None}
        body[asking.limit_name] = sampling.max_tokens
        if asking.has_schema and sampling.json_schema is not None:
            schema = {"name": "answer", "strict": True, "schema": json.loads(sampling.json_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return self._client.ask(self._model.revision, asking.request.messages or (), body | self._extra)

    def _settle(self, asking: _Asking, met: Reply | Refusal) -> Completion | float:
        """The completion of a request that is done with, or after how many seconds it is asked again."""
        now = time.monotonic()
        if isinstance(met, Reply):
            self._answered_at, self._num_denied = now, 0
            self._limit.count_answer(asking.epoch, now - asking.sent_at, is_full=asking.is_full)
            return self._complete(asking, met)
        match met.fault:
            case Fault.DENIED:
                raise EngineRefusedError(self._describe_denial(met))
            case Fault.FORBIDDEN | Fault.MISSING:
                return self._deny(asking, met)
            case Fault.REFUSED:
                return self._fail(asking, met, Outcome.REFUSED)
            case Fault.TOO_LONG:
                return self._fail(asking, met, Outcome.INPUT_TOO_LONG)
            case Fault.TIMEOUT:
                self._limit.count_refusal(asking.epoch)
                return self._fail(asking, met, Outcome.TIMEOUT)
            case Fault.NO_SCHEMA if asking.has_schema:
                self._refused_schemas.add(asking.request.sampling.json_schema or "")
                self._warn_once("schema", f"does not take the JSON schema ({met.message}); it is not sent, answers are checked here")
                return 0.0
            case Fault.OTHER_LIMIT if asking.limit_name == "max_tokens":
                self._limit_name = "max_completion_tokens"
                return 0.0
            case Fault.THROTTLED:
                return self._put_off(asking, met, now)
            case Fault.TRANSPORT | Fault.UNREACHABLE:
                return self._try_again(asking, met, now)
            case _:
                return self._fail(asking, met, Outcome.ENGINE_ERROR)

    def _deny(self, asking: _Asking, met: Refusal) -> Completion:
        """A status that is said of one request, or of all: of all where many in a row meet it. A model that is missing is so at once."""
        self._num_denied += 1
        if self._num_denied >= MAX_DENIED or (met.fault is Fault.MISSING and not self._answered_at):
            raise EngineRefusedError(self._describe_denial(met))
        if met.fault is Fault.MISSING:
            return self._fail(asking, met, Outcome.ENGINE_ERROR)
        rule = "where others are answered, ask another model about this passage, or correct it by hand; else mend the key."
        return self._fail(asking, replace(met, message=f"{met.message}; {rule}"), Outcome.REFUSED)

    def _put_off(self, asking: _Asking, met: Refusal, now: float) -> Completion | float:
        self._limit.count_refusal(asking.epoch)
        asking.num_throttled += 1
        asking.throttled_at = asking.throttled_at or now
        wait_s = self._leave_alone(met, now) or self._back_off(asking.num_throttled)
        return self._fail(asking, met, Outcome.ENGINE_ERROR) if now - asking.throttled_at > MAX_THROTTLED_S else wait_s

    def _try_again(self, asking: _Asking, met: Refusal, now: float) -> Completion | float:
        asking.num_failed += 1
        if asking.num_failed > self._max_retries:
            if met.fault is Fault.UNREACHABLE and self._answered_at < asking.first_sent_at:
                raise EngineError(f"{self._base_url} answers no more: {met.message}.")
            return self._fail(asking, met, Outcome.ENGINE_ERROR)
        if met.retry_after_s is not None:
            self._limit.count_refusal(asking.epoch)
        return max(self._leave_alone(met, now), self._back_off(asking.num_failed))

    def _leave_alone(self, met: Refusal, now: float) -> float:
        """For how long the server wants no request at all; 0 where it does not say. Raises EngineRefusedError where that is too long."""
        wait_s = met.retry_after_s or 0.0
        if wait_s > MAX_RETRY_AFTER_S:
            raise EngineRefusedError(
                f"{self._base_url} wants to be left alone for {wait_s:.0f} s: {met.message}. So long is not waited, "
                f"{MAX_RETRY_AFTER_S:.0f} s are the most; run the same command again then, it goes on from what was answered."
            )
        self._left_alone_until = max(self._left_alone_until, now + wait_s)
        return wait_s

    def _complete(self, asking: _Asking, reply: Reply) -> Completion:
        sampling = asking.request.sampling
        outcome, error = Outcome.OK, None
        if reply.is_cut:
            outcome, error = Outcome.TRUNCATED, f"The answer was cut at max_tokens={sampling.max_tokens}."
        # also where the server was told the schema: some take no notice of it
        elif sampling.json_schema is not None and (error := find_violation(reply.text, sampling.json_schema)):
            outcome = Outcome.INVALID_SCHEMA
        return self._end(asking, outcome, error, reply.finish_reason, reply.text, reply.usage)

    def _fail(self, asking: _Asking, met: Refusal, outcome: Outcome) -> Completion:
        # a timeout is the one failure that was not asked again here
        finish_reason = GIVEN_UP if outcome is Outcome.ENGINE_ERROR else met.finish_reason
        tries = f" (asked {asking.num_failed} times)" if asking.num_failed > 1 else ""
        return self._end(asking, outcome, f"{self._base_url}: {met.message}{tries}", finish_reason, met.text, met.usage)

    def _end(
        self, asking: _Asking, outcome: Outcome, error: str | None, finish_reason: str | None, text: str | None, usage: Usage | None
    ) -> Completion:
        """With tokens as the server counts them, else estimated; seconds parted by computed tokens, as a server tells nothing nearer."""
        prompt_tokens, cached_tokens, completion_tokens = self._count(asking.request, text, usage)
        num_computed = prompt_tokens - cached_tokens + completion_tokens
        return Completion(
            request=asking.request,
            outcome=outcome,
            finish_reason=finish_reason,
            text=None if text is None else self._client.hide(text),
            logprobs=(),
            alternatives=(),
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
            completion_tokens=completion_tokens,
            engine_seconds=asking.engine_seconds,
            decode_seconds=asking.engine_seconds * completion_tokens / num_computed if num_computed else 0.0,
            error=None if error is None else self._client.hide(error),
        )

    def _count(self, request: Request, text: str | None, usage: Usage | None) -> tuple[int, int, int]:
        if usage is None:
            return 0, 0, 0
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            self._warn_once("usage", "does not say how many tokens a call took; they are estimated, and so are costs")
        prompt_tokens = len(request.token_ids) if usage.prompt_tokens is None else usage.prompt_tokens
        completion_tokens = -(-len(text or "") // 4) if usage.completion_tokens is None else usage.completion_tokens
        return prompt_tokens, usage.cached_tokens, completion_tokens

    def _greet(self) -> None:
        """Returns where somebody is there who takes the key; a list of models is not everywhere."""
        for number in count(1):
            met = self._client.list_models()
            if not isinstance(met, Refusal):
                self._listed = met
                return
            if met.fault in (Fault.DENIED, Fault.FORBIDDEN):
                raise EngineRefusedError(self._describe_denial(met))
            if met.fault not in (Fault.UNREACHABLE, Fault.TIMEOUT):
                return
            if number == NUM_GREETINGS:
                raise EngineRefusedError(
                    f"No server answers at {self._base_url}: {met.message}. An endpoint must run before it is asked; start it, or mend "
                    f"base_url of [models.{self._model.name}]."
                )
            time.sleep(self._back_off(number))

    def _describe_denial(self, met: Refusal) -> str:
        if met.fault is Fault.MISSING:
            names = f"it lists {', '.join(self._listed[:10])}" if self._listed else "it lists none"
            rule = f"`source` is the model's name at the server ({names}), and base_url most often ends in /v1"
        else:
            rule = "The key, in the variable that api_key_env names, must be one that may use it, of an account with credit"
        start = f"{self._base_url} takes no request for the model {self._model.revision!r}: {met.message}."
        return self._client.hide(f"{start} {rule}; mend [models.{self._model.name}] or the key.")

    def _back_off(self, number: int) -> float:
        """Seconds before the try after the `number`th that failed."""
        longest = min(MAX_WAIT_S, self._first_wait_s * 2.0 ** min(number - 1, 16))
        return longest * random.uniform(0.5, 1.0)

    def _warn_once(self, what: str, message: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            logger.warning("%s", self._client.hide(f"{self._base_url} {message}."))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()


def _find_unaskable(request: Request) -> str | None:
    """Why no endpoint can be asked this; None where it can."""
    if request.sampling.score_from is not None:
        return "An endpoint gives no log-probabilities of a given text; the score protocol needs an engine of this machine; use one."
    if request.messages is None:
        return "The request has token ids alone; an endpoint has its own tokeniser and is asked with messages; give messages."
    if request.sampling.stop_token_ids:
        return "stop_token_ids are of a tokeniser that the server may not have; an endpoint takes texts; give `stop`."
    return None if request.sampling.json_schema is None else find_fault(request.sampling.json_schema)


def _take(ended: "queue.SimpleQueue[_Try]", timeout_s: float) -> Iterator[_Try]:
    """The next that has ended and those that wait behind it; none where there is none for so long."""
    try:
        yield ended.get(timeout=timeout_s)
        while True:
            yield ended.get_nowait()
    except queue.Empty:
        return
