"""The `score` protocol: nothing is generated; a candidate is judged by how much likelier it makes the text.

For each chunk the model reads the chunk once (every token's log-probability, and what it would rather have), then the same words up to a
candidate and the changed text after it. Only what follows the change is computed: the words before it come from the prefix cache.

The changed part is tokenised alone, from a word before the change to a word after it. That gives the tokens of the whole changed text
where the tokeniser cuts before white space and adds nothing at the start of a text, as byte-level BPE does.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from chunkers.records import Candidate, Chunk, table_schema
from chunkers.tokens import Tokenizer
from engine.records import Completion, Outcome, Request, Sampling

READ_TEMPLATE, JUDGE_TEMPLATE = "score-read", "score-judge"
TEMPLATE_VERSION = 1

NUM_ALTERNATIVES = 4
"""The likeliest tokens kept at each position of a chunk: what the model would rather have."""
TAIL_TOKENS = 12
"""Tokens after a change that are compared: what comes later is the same text and nearly as likely in both."""
MAX_READINGS = 16
"""Chunks read ahead of their candidates: enough for the queue to stay full, few enough for their words to stay in the prefix cache."""
MIN_SURPRISE = 4.0
"""Nats. A candidate whose place the model finds this likely as it stands cannot gain enough, and is not asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How a model judged one candidate."""

    candidate_id: str
    doc_id: str
    start: int
    end: int
    original: str
    replacement: str
    category: str
    detector: str
    message: str
    row_key: str | None
    """The call that judged it; None where none was asked."""
    gain: float | None
    """Nats: log-probability of the text with the change less that of the text as it stands; None where not asked: the text as it
    stands was too likely, the change is at a text's first word, or the place is not read as prose."""
    surprise: float | None
    """Nats: minus the log-probability of what stands at the place now, the token after it included; None where the place is not read."""


SCORES = table_schema(
    "scores",
    [
        ("candidate_id", pa.string()),
        ("doc_id", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("original", pa.string()),
        ("replacement", pa.string()),
        ("category", pa.string()),
        ("detector", pa.string()),
        ("message", pa.string()),
        ("row_key", pa.string()),
        ("gain", pa.float64()),
        ("surprise", pa.float64()),
    ],
    nullable=frozenset({"row_key", "gain", "surprise"}),
)
"""Sorted by doc_id, start, end, replacement, detector."""

KeyOf = Callable[[Sequence[int], Sampling], str]
"""Row key of a request's tokens and sampling; see `calls.row_key`."""

Propose = Callable[["Reading"], Iterable[Candidate]]
"""The model's own candidates from what it read; see `surprise.propose`."""


@dataclass(slots=True)
class Reading:
    """A chunk with its surroundings as the model read it."""

    chunk: Chunk
    given: Sequence[Candidate]
    """The candidates that belong to the chunk."""
    offset: int
    """Code point of the document at which `text` starts."""
    text: str
    """The chunk with its context before and after."""
    token_ids: list[int]
    starts: list[int]
    """Code point in `text` at which each token starts."""
    logprobs: list[float] = field(default_factory=list)
    """One a token; 0 for the first, which nothing precedes."""
    sums: list[float] = field(default_factory=list)
    """`sums[i]` is the sum of the first i log-probabilities."""
    alternatives: list[tuple[tuple[int, ...], tuple[float, ...]]] = field(default_factory=list)
    """Likeliest tokens and their log-probabilities at each position; empty for the first."""

    def learn(self, completion: Completion) -> None:
        """Take in the answer to the reading request."""
        self.logprobs = [0.0, *completion.logprobs]
        self.sums = [0.0]
        for logprob in self.logprobs:
            self.sums.append(self.sums[-1] + logprob)
        self.alternatives = [((), ()), *((at.token_ids, at.logprobs) for at in completion.alternatives)]

    def token_at(self, position: int) -> int:
        """Index of the token that holds a code point of `text`."""
        return max(0, bisect_right(self.starts, position) - 1)

    def is_word_start(self, index: int) -> bool:
        """Whether the tokeniser never joins this token with the one before it: white space begins with it, or the text does."""
        start = self.starts[index]
        # white space of several bytes may be several tokens with one start
        return index == 0 or (self.text[start].isspace() and not self.text[start - 1].isspace() and start != self.starts[index - 1])

    def word_at(self, position: int) -> int:
        """Index of the token that begins the word at a code point of `text`, the white space before it included."""
        index = self.token_at(position)
        while not self.is_word_start(index):
            index -= 1
        return index


@dataclass(frozen=True, slots=True)
class _Variant:
    candidate: Candidate
    before: float
    surprise: float


class ScoreJob:
    """Judges the candidates of one document; a job of the feed. Scores are complete when the feed has ended the job."""

    def __init__(
        self, chunks: Iterable[Chunk], candidates: Sequence[Candidate], tokenizer: Tokenizer, key_of: KeyOf, propose: Propose
    ) -> None:
        """`chunks` in document order.

        A candidate belongs to the chunk that it starts in, an insertion between two chunks to the first of them. Those that belong to none
        are left out; every other one ends in `scores` or its call in `failures`.
        """
        self.scores: list[Score] = []
        self.failures: list[Completion] = []
        """Calls that did not come through; their candidates are not judged."""
        self._chunks, self._tokenizer, self._key_of, self._propose = chunks, tokenizer, key_of, propose
        self._candidates = sorted(candidates, key=lambda candidate: (candidate.start, candidate.end))
        self.num_variants = 0
        """Judging requests known so far; grows as chunks are read."""
        self._num_taken = 0
        self._readings: dict[str, Reading] = {}
        self._variants: dict[str, list[_Variant]] = {}
        self._ready: deque[Request] = deque()

    def requests(self) -> Iterator[Request | None]:
        """Readings in document order; the variants of a chunk as soon as it is read, while its words are in the prefix cache."""
        for chunk in self._chunks:
            given = self._take_candidates(chunk)
            if chunk.is_readable:
                yield self._read(chunk, given)
                yield from self._drain()
                while len(self._readings) >= MAX_READINGS:
                    yield None
                    yield from self._drain()
            else:
                for candidate in given:
                    self._leave(candidate, None)
        while self._readings or self._ready:
            yield from self._drain()
            if self._readings:
                yield None

    def _drain(self) -> Iterator[Request]:
        while self._ready:
            yield self._ready.popleft()

    def _take_candidates(self, chunk: Chunk) -> list[Candidate]:
        def place(candidate: Candidate) -> tuple[int, int]:
            return candidate.start, candidate.end

        first = bisect_left(self._candidates, (chunk.start, 0), lo=self._num_taken, key=place)
        self._num_taken = bisect_left(self._candidates, (chunk.end, chunk.end + 1), lo=first, key=place)
        return self._candidates[first : self._num_taken]

    def _read(self, chunk: Chunk, given: Sequence[Candidate]) -> Request:
        text = chunk.context_before + chunk.text + chunk.context_after
        tokens = self._tokenizer.encode_with_offsets(text)
        offset = chunk.start - len(chunk.context_before)
        reading = Reading(chunk, given, offset, text, tokens.ids, [start for start, _ in tokens.offsets])
        request = self._request(chunk, READ_TEMPLATE, reading.token_ids, Sampling(score_from=1, num_alternatives=NUM_ALTERNATIVES))
        self._readings[request.chunk_id] = reading
        return request

    def _request(self, chunk: Chunk, template: str, token_ids: Sequence[int], sampling: Sampling) -> Request:
        return Request(
            row_key=self._key_of(token_ids, sampling),
            doc_id=chunk.doc_id,
            chunk_id=chunk.chunk_id,
            template=template,
            template_version=TEMPLATE_VERSION,
            token_ids=tuple(token_ids),
            sampling=sampling,
        )

    def receive(self, completion: Completion) -> None:
        """A reading makes its chunk's variants ready; a variant becomes the scores of its candidates."""
        request = completion.request
        if request.template == READ_TEMPLATE:
            reading = self._readings.pop(request.chunk_id)
            if completion.outcome is not Outcome.OK:
                self.failures.append(completion)
                return
            reading.learn(completion)
            for candidate in self._candidates_of(reading):
                self._judge(reading, candidate)
            return
        variants = self._variants.pop(request.row_key)
        if completion.outcome is not Outcome.OK:
            self.failures.append(completion)
            return
        after = sum(completion.logprobs)
        self.scores.extend(_score(variant.candidate, variant.surprise, request.row_key, after - variant.before) for variant in variants)

    def _candidates_of(self, reading: Reading) -> Iterator[Candidate]:
        yield from reading.given
        known = {(candidate.start, candidate.end, candidate.replacement) for candidate in reading.given}
        for candidate in self._propose(reading):
            if (candidate.start, candidate.end, candidate.replacement) not in known:
                yield candidate

    def _leave(self, candidate: Candidate, surprise: float | None) -> None:
        self.scores.append(_score(candidate, surprise, None, None))

    def _judge(self, reading: Reading, candidate: Candidate) -> None:
        start, end = candidate.start - reading.offset, candidate.end - reading.offset
        if end > len(reading.text):  # it goes on in a chunk that is no context of this one
            self._leave(candidate, None)
            return
        changed = reading.token_at(max(start, end - 1))
        surprise = reading.sums[reading.word_at(start)] - reading.sums[min(changed + 2, len(reading.logprobs))]
        if surprise < MIN_SURPRISE:
            self._leave(candidate, surprise)
            return
        # from the character before the change: a change that takes white space away must not take the tail's first
        first = reading.word_at(max(0, start - 1))
        last = min(changed + 1 + TAIL_TOKENS, len(reading.token_ids))
        while last < len(reading.token_ids) and not reading.is_word_start(last):
            last += 1
        tail_end = reading.starts[last] if last < len(reading.token_ids) else len(reading.text)
        tail = reading.text[reading.starts[first] : start] + candidate.replacement + reading.text[end:tail_end]
        token_ids = [*reading.token_ids[:first], *self._tokenizer.encode_with_offsets(tail).ids]
        score_from = max(first, 1)
        # a text's first token has no probability
        if len(token_ids) <= score_from or token_ids[0] != reading.token_ids[0]:
            self._leave(candidate, surprise)
            return
        request = self._request(reading.chunk, JUDGE_TEMPLATE, token_ids, Sampling(score_from=score_from))
        variant = _Variant(candidate, reading.sums[last] - reading.sums[score_from], surprise)
        if request.row_key in self._variants:
            self._variants[request.row_key].append(variant)
        else:
            self._variants[request.row_key] = [variant]
            self._ready.append(request)
            self.num_variants += 1


def _score(candidate: Candidate, surprise: float | None, row_key: str | None, gain: float | None) -> Score:
    return Score(
        candidate_id=candidate.candidate_id,
        doc_id=candidate.doc_id,
        start=candidate.start,
        end=candidate.end,
        original=candidate.original,
        replacement=candidate.replacement,
        category=candidate.category.value,
        detector=candidate.detector,
        message=candidate.message,
        row_key=row_key,
        gain=gain,
        surprise=surprise,
    )
