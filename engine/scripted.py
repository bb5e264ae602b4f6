"""An engine without a model, for tests and dry runs: every answer is a pure function of its request."""

import hashlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from chunkers.tokens import Tokenizer
from engine.models import Model
from engine.protocol import EngineError, Steps
from engine.pull import Puller
from engine.records import Alternatives, Completion, Outcome, Request

Answer = Callable[[Request], str]
Score = Callable[[Request], list[float]]
Reject = Callable[[Request], str | None]
"""Why the engine refuses a request; None where it takes it."""


def echo(request: Request) -> str:
    """The empty list of edits: what a model says of a clean page."""
    return '{"edits":[]}' if request.sampling.json_schema else f"{len(request.token_ids)} tokens"


def hashed_scores(request: Request) -> list[float]:
    """Log-probabilities between -8 and 0 that depend on each token and the one before it, exact in 32 bits."""
    first = request.sampling.score_from or 1
    pairs = zip(request.token_ids[first - 1 :], request.token_ids[first:], strict=False)
    return [-hashlib.sha256(f"{before} {token}".encode()).digest()[0] / 32 for before, token in pairs]


class ScriptedEngine:
    """Answers in the order of arrival, `batch` requests a step."""

    build = "scripted 1"
    determinism = "batch_invariant"
    block_size = 32

    def __init__(
        self,
        answer: Answer = echo,
        score: Score = hashed_scores,
        reject: Reject = lambda _: None,
        *,
        max_model_len: int = 2048,
        batch: int = 8,
        dies_after: int | None = None,
    ) -> None:
        """`dies_after` completions the engine raises EngineError, as a killed engine process would."""
        self._answer, self._score, self._reject = answer, score, reject
        self._max_model_len, self._batch, self._dies_after = max_model_len, batch, dies_after
        self.max_in_flight = 2 * batch
        self.busy_seconds, self.steps = 0.0, Steps()

    def run(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """As the protocol says."""
        source, queue, answered = Puller(requests), deque[Request](), 0
        while not source.is_exhausted or queue:
            queue.extend(source.pull(len(queue), self.max_in_flight))
            self.steps += Steps(1)
            for _ in range(min(self._batch, len(queue))):
                if answered == self._dies_after:
                    raise EngineError(f"The scripted engine died after {answered} completions, as told.")
                answered += 1
                yield self._complete(queue.popleft())

    def _complete(self, request: Request) -> Completion:
        sampling, num_tokens = request.sampling, len(request.token_ids)
        text: str | None = None
        logprobs: tuple[float, ...] = ()
        alternatives: tuple[Alternatives, ...] = ()
        outcome, error = Outcome.OK, None
        if num_tokens >= self._max_model_len:
            outcome, error = Outcome.INPUT_TOO_LONG, f"{num_tokens} prompt tokens; max_model_len={self._max_model_len} must exceed them."
        elif (reason := self._reject(request)) is not None:
            outcome, error = Outcome.ENGINE_ERROR, reason
        elif sampling.score_from is not None:
            logprobs = tuple(self._score(request))
            count = sampling.num_alternatives
            alternatives = tuple(Alternatives(token_ids=tuple(range(count)), logprobs=(-2.0,) * count) for _ in logprobs) if count else ()
        else:
            text = self._answer(request)
            if len(text) > 4 * sampling.max_tokens:  # four characters a token
                text, outcome, error = (
                    text[: 4 * sampling.max_tokens],
                    Outcome.TRUNCATED,
                    f"The answer was cut at max_tokens={sampling.max_tokens}.",
                )
        return Completion(
            request=request,
            outcome=outcome,
            finish_reason={Outcome.OK: "stop", Outcome.TRUNCATED: "length"}.get(outcome),
            text=text,
            logprobs=logprobs,
            alternatives=alternatives,
            prompt_tokens=num_tokens,
            cached_tokens=0,
            completion_tokens=-(-len(text) // 4) if text else 0,
            engine_seconds=0.0,
            error=error,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


def build_scripted(
    model: Model,
    *,
    seconds_to_load: float = 0.0,
    seconds_a_call: float = 0.0,
    seconds_a_token: float = 0.0,
    kill_word: str | None = None,
    reject_word: str | None = None,
    endless_word: str | None = None,
    **settings: Any,
) -> ScriptedEngine:
    """The scripted engine as a run hosts it (`engine = "scripted"` in a `[models]` table), to try what a run does when things go wrong.

    A prompt with one of the words kills the engine's process, is refused, or is answered without end.
    """
    time.sleep(seconds_to_load)
    tokenizer = Tokenizer(model.tokenizer_path)

    def holds(word: str | None, request: Request) -> bool:
        return word is not None and word in tokenizer.decode(request.token_ids)

    def reject(request: Request) -> str | None:
        time.sleep(seconds_a_call + seconds_a_token * len(request.token_ids))
        if holds(kill_word, request):
            os.kill(os.getpid(), signal.SIGKILL)
        return f"The prompt holds {reject_word!r}, which this engine was told to refuse." if holds(reject_word, request) else None

    def answer(request: Request) -> str:
        return " and" * 100_000 if holds(endless_word, request) else echo(request)

    return ScriptedEngine(answer, hashed_scores, reject, **settings)
