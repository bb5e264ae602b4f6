"""The engine's half of the `edits` and `rewrite` protocols: each chunk is asked about until it has an answer, or nothing is left to try."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from chunkers.records import Chunk
from chunkers.splits import split_chunk
from engine.outcomes import Action, Asked, classify, next_action, record_asked, strip_reasoning
from engine.prefixes import plan_prefixes
from engine.prompts import Prompt, Rendered, Renderer
from engine.records import Completion, Outcome, Request, Sampling
from engine.style_prompt import add_style

MIN_ANSWER_TOKENS = 256
"""A piece's output limit is its share of the chunk's, but no less: a model that babbles on would cost the whole limit for each piece."""
MAX_SPLITS = 6
"""How often a chunk is halved: 64 pieces of 700 tokens have about ten each."""

_NO_STYLES: Mapping[str, str] = MappingProxyType({})

KeyOf = Callable[[Rendered, Sampling], str]
"""Names a question by everything that decides its answer."""
Check = Callable[[Chunk, str], None]
"""Raises SchemaError or SemanticError for an answer that cannot be used for its chunk; pure."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked about a chunk, or about a piece of one."""

    chunk: Chunk
    num_splits: int
    """How often the chunk that was given has been halved to come to this one."""
    request: Request
    cut: Completion | None = None
    """The cut answer that made it ask for a longer one."""


class GenerateJob:
    """Asks a prompt of every prose chunk of one shard; a job of the feed.

    A chunk that is not answered whole is halved, and the pieces are asked about as chunks of their own: those with an answer and those that
    failed tile what was given.
    """

    def __init__(
        self,
        chunks: Iterable[Chunk],
        prompt: Prompt,
        renderer: Renderer,
        sampling: Sampling,
        key_of: KeyOf,
        *,
        check: Check,
        max_model_len: int,
        block_size: int,
        styles: Mapping[str, str] = _NO_STYLES,
    ) -> None:
        """Puts every chunk into its prompt, and the prompts into the order that shares most; what shares the same, longest first.

        `check` is given answers without their reasoning; `max_model_len` is in tokens, of a prompt with its answer, and `block_size` in
        tokens of the engine's prefix cache. `styles` has what is said of a document's style sheet, by doc_id.
        The lists are in the order of completion.
        """
        self.answers: list[tuple[Chunk, Completion]] = []
        """Answers that count: those that are ok, and cut ones that no longer answer about the same chunk followed."""
        self.failures: list[tuple[Chunk, Completion]] = []
        """Chunks and pieces that ended without an answer, with their last completion; a cut one is here alone."""
        self.asked: list[Asked] = []
        """One for each completion."""
        self.num_read = 0
        """Chunks that have had a first answer, good or not; halves do not count."""
        self.num_further = 0
        """Questions so far beyond the first about each chunk."""
        self._prompt, self._renderer, self._sampling, self._key_of = prompt, renderer, sampling, key_of
        self._check, self._max_model_len, self._styles = check, max_model_len, styles
        self._open: dict[str, _Question] = {}
        """By chunk_id; a chunk or piece has one question at a time."""
        self._ready: deque[Request] = deque()
        first = [self._ask(chunk, 0) for chunk in chunks if chunk.is_readable]
        plan = plan_prefixes(
            [question.request.token_ids for question in first],
            block_size=block_size,
            # edits repeat what they change: the longer the text, the longer the answer
            expected_tokens=[len(question.request.token_ids) for question in first],
        )
        self._first = deque(first[position] for position in plan.order)

    def requests(self) -> Iterator[Request | None]:
        """One request for each chunk of prose; those that follow an answer go first: they share its prompt."""
        while self._first:
            self._put(self._first.popleft())
            yield from self._drain()
        while self._open:
            yield from self._drain()
            if self._open:
                yield None

    def _drain(self) -> Iterator[Request]:
        while self._ready:
            yield self._ready.popleft()

    def classify(self, completion: Completion) -> Completion:
        """The completion with the outcome that its answer deserves, by the job's check."""
        chunk = self._open[completion.request.chunk_id].chunk
        return classify(completion, partial(self._check, chunk), passage=chunk.text)

    def follows(self, completion: Completion) -> bool:
        """Whether this outcome leads to a further question."""
        return bool(self._follow_ups(self._open[completion.request.chunk_id], completion))

    def receive(self, completion: Completion) -> None:
        """Keep the answer, or ask what its outcome leads to."""
        question = self._open.pop(completion.request.chunk_id)
        following = self._follow_ups(question, completion)
        self.asked.append(record_asked(completion, is_final=not following))
        self.num_read += question.num_splits == 0 and completion.request.attempt == 1
        self.num_further += len(following)
        for follow_up in following:
            self._put(follow_up)
        if completion.outcome is Outcome.OK:
            self.answers.append((question.chunk, completion))
        elif not following:
            self.failures.append((question.chunk, completion))
            if question.cut and completion.outcome is not Outcome.TRUNCATED:
                self.answers.append((question.chunk, question.cut))
        elif completion.outcome is Outcome.TRUNCATED and len(following) == 2:
            self.answers.append((question.chunk, completion))

    def _follow_ups(self, question: _Question, completion: Completion) -> list[_Question]:
        """One question more about the chunk, one about each half of it, or none: an answer, or the end of what can be tried."""
        match next_action(completion.outcome, question.request.attempt):
            case Action.LONGER:
                longer = self._ask_longer(question)
                return [replace(longer, cut=completion)] if longer else self._ask_halves(question)
            case Action.CORRECT:
                corrected = self._ask_corrected(question, completion)
                return [corrected] if corrected else []
            case Action.SPLIT:
                return self._ask_halves(question)
            case _:  # AGAIN too: the feed has asked as often as is worth it
                return []

    def _put(self, question: _Question) -> None:
        self._open[question.chunk.chunk_id] = question
        self._ready.append(question.request)

    def _ask(self, chunk: Chunk, num_splits: int) -> _Question:
        rendered = self._renderer.ask(
            add_style(self._prompt, self._styles.get(chunk.doc_id, "")), {"text": chunk.text, "context_before": chunk.context_before}
        )
        whole = self._sampling.max_tokens
        sampling = replace(self._sampling, max_tokens=max(min(whole, MIN_ANSWER_TOKENS), whole >> num_splits))
        request = Request(
            row_key=self._key_of(rendered, sampling),
            doc_id=chunk.doc_id,
            chunk_id=chunk.chunk_id,
            template=self._prompt.name,
            template_version=self._prompt.version,
            token_ids=rendered.token_ids,
            messages=rendered.messages,
            sampling=sampling,
        )
        return _Question(chunk, num_splits, request)

    def _ask_halves(self, question: _Question) -> list[_Question]:
        halves = split_chunk(question.chunk) if question.num_splits < MAX_SPLITS else None
        return [self._ask(half, question.num_splits + 1) for half in halves or ()]

    def _ask_longer(self, question: _Question) -> _Question | None:
        """The same with twice the output limit, or what there is room for; None where that is no more than was given."""
        request = question.request
        max_tokens = min(2 * request.sampling.max_tokens, self._max_model_len - len(request.token_ids))
        if max_tokens <= request.sampling.max_tokens:
            return None
        return replace(question, request=self._follow_up(request, _rendered(request), max_tokens))

    def _ask_corrected(self, question: _Question, completion: Completion) -> _Question | None:
        """The conversation continued with what was wrong; None where the model knows no second turn."""
        request = question.request
        reply = self._prompt.correction.substitute(error=completion.error or "")
        rendered = self._renderer.ask_again(_rendered(request), strip_reasoning(completion.text or ""), reply)
        if rendered is None:
            return None
        # where there is no room at all the engine says that the input is too long, and the chunk is split
        max_tokens = max(1, min(request.sampling.max_tokens, self._max_model_len - len(rendered.token_ids)))
        return replace(question, request=self._follow_up(request, rendered, max_tokens))

    def _follow_up(self, request: Request, rendered: Rendered, max_tokens: int) -> Request:
        sampling = replace(request.sampling, max_tokens=max_tokens)
        return replace(
            request,
            row_key=self._key_of(rendered, sampling),
            token_ids=rendered.token_ids,
            messages=rendered.messages,
            sampling=sampling,
            attempt=request.attempt + 1,
        )


def _rendered(request: Request) -> Rendered:
    return Rendered(token_ids=request.token_ids, messages=request.messages)
