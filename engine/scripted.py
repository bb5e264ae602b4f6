"""An engine without a model, for tests and dry runs: every answer is a pure function of its request."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from engine.protocol import EngineError
from engine.records import Alternatives, Completion, Outcome, Request

Answer = Callable[[Request], str]
Score = Callable[[Request], list[float]]


def echo(request: Request) -> str:
    """The empty list of edits: what a model says of a clean page."""
    return '{"edits":[]}' if request.sampling.json_schema else f"{len(request.token_ids)} tokens"


def hashed_scores(request: Request) -> list[float]:
    """Log-probabilities between -10 and 0 that depend on each token and the one before it."""
    first = request.sampling.score_from or 1
    pairs = zip(request.token_ids[first - 1 :], request.token_ids[first:], strict=False)
    return [-10 * hashlib.sha256(f"{before} {token}".encode()).digest()[0] / 255 for before, token in pairs]


class ScriptedEngine:
    """Answers in the order of arrival, `batch` requests a step."""

    build = "scripted 1"
    determinism = "batch_invariant"

    def __init__(
        self,
        answer: Answer = echo,
        score: Score = hashed_scores,
        *,
        max_model_len: int = 2048,
        batch: int = 8,
        dies_after: int | None = None,
    ) -> None:
        """`dies_after` completions the engine raises EngineError, as a killed engine process would."""
        self._answer, self._score = answer, score
        self._max_model_len, self._batch, self._dies_after = max_model_len, batch, dies_after
        self.busy_seconds = 0.0

    def run(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """As the protocol says."""
        source, queue, is_exhausted, answered = iter(requests), deque[Request](), False, 0
        while not is_exhausted or queue:
            while not is_exhausted and len(queue) < 2 * self._batch:
                try:
                    request = next(source)
                except StopIteration:
                    is_exhausted = True
                    break
                if request is None:
                    if not queue:
                        raise RuntimeError("The source has nothing to add although every request is answered; it would wait for ever.")
                    break
                queue.append(request)
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
            finish_reason=None if outcome is Outcome.INPUT_TOO_LONG else "length" if outcome is Outcome.TRUNCATED else "stop",
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
