"""The `score` protocol: nothing is generated; a candidate is judged by how much likelier it makes the text.

For each chunk the model reads the chunk once (every token's log-probability, and what it would rather have), then the same words up to a
candidate and the changed text after it. Only what follows the change is computed: the words before it come from the prefix cache.
A model that has learned to copy (copying.py) reads the chunk twice in one prompt, and goes on in its own words where it doubts its copy:
what it would change is judged as the other candidates are.

The changed part is tokenised alone, from a word before the change to a word after it. That gives the tokens of the whole changed text
where the tokeniser cuts before white space and adds nothing at the start of a text, as byte-level BPE does.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from chunkers.records import Candidate, Chunk, table_schema
from chunkers.splits import split_chunk
from chunkers.tokens import Tokenizer
from engine.copying import MAX_MEND_TOKENS, MAX_READ_TOKENS, CopyForm, Doubt, find_doubts, read_mend
from engine.outcomes import Action, Asked, next_action, record_asked
from engine.reading import Reading
from engine.records import Completion, Outcome, Request, Sampling
from engine.shown import find_starts, show_lines, unwrap_lines

READ_TEMPLATE, MEND_TEMPLATE, JUDGE_TEMPLATE = "score-read", "score-mend", "score-judge"
TEMPLATE_VERSION = 1

NUM_ALTERNATIVES = 4
"""The likeliest tokens kept at each position of a chunk: what the model would rather have."""
TAIL_TOKENS = 12
"""Tokens after a change that are compared: what comes later is the same text and nearly as likely in both."""
MAX_READINGS = 16
"""Chunks read ahead of their candidates: enough for the queue to stay full, few enough for their words to stay in the prefix cache."""
MAX_SPLITS = 6
"""How often a chunk is halved that is too long to read: 64 pieces of 700 tokens have about ten each."""
MIN_SURPRISE = 4.0
"""Nats. A candidate whose place the model finds this likely as it stands cannot gain enough, and is not asked about."""
MIN_COPY_SURPRISE = 0.03
"""The same for a model that copies: it is all but sure of nearly every word."""


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

Propose = Callable[[Reading], Iterable[Candidate]]
"""The model's own candidates from what it read; see `surprise.propose`."""


@dataclass(slots=True)
class ReadAhead:
    """How many chunks are being read by all jobs that share an engine: what is read too far ahead has left the prefix cache when its
    candidates come.
    """

    num_open: int = 0


@dataclass(slots=True)
class _Mending:
    """A reading whose doubts are being asked about."""

    reading: Reading
    num_open: int
    found: list[Candidate]


@dataclass(frozen=True, slots=True)
class _Variant:
    candidate: Candidate
    before: float
    surprise: float


class ScoreJob:
    """Judges the candidates of one document; a job of the feed. Scores are complete when the feed has ended the job."""

    def __init__(
        self,
        chunks: Iterable[Chunk],
        candidates: Sequence[Candidate],
        tokenizer: Tokenizer,
        key_of: KeyOf,
        propose: Propose,
        copy_form: CopyForm | None = None,
        read_ahead: ReadAhead | None = None,
    ) -> None:
        """`chunks` in document order; `copy_form` for a model that has learned to copy, which proposes in its own way. Jobs of one engine
        share `read_ahead`.

        A candidate belongs to the chunk that it starts in, an insertion between two chunks to the first of them. Those that belong to none
        are left out; every other one ends in `scores` or its call in `failures`.
        """
        self.scores: list[Score] = []
        self.failures: list[Completion] = []
        """Calls that did not come through; their candidates are not judged."""
        self.asked: list[Asked] = []
        """One for each completion, in the order of completion."""
        self._chunks, self._tokenizer, self._key_of, self._propose = chunks, tokenizer, key_of, propose
        self._copy_form, self._read_ahead = copy_form, read_ahead or ReadAhead()
        self._min_surprise = MIN_COPY_SURPRISE if copy_form else MIN_SURPRISE
        self._candidates = sorted(candidates, key=lambda candidate: (candidate.start, candidate.end))
        self.num_read = 0
        """Chunks that have been read, or have failed to be; halves do not count."""
        self.num_further = 0
        """Questions known so far beyond the first about each chunk; grows as chunks are read."""
        self._num_taken = 0
        self._readings: dict[str, Reading] = {}
        self._mendings: dict[str, _Mending] = {}
        self._doubts: dict[str, list[tuple[str, Doubt]]] = {}
        """By row key: the chunk and its place."""
        self._variants: dict[str, list[_Variant]] = {}
        self._ready: deque[Request] = deque()

    def requests(self) -> Iterator[Request | None]:
        """Readings in document order; the variants of a chunk as soon as it is read, while its words are in the prefix cache."""
        for chunk in self._chunks:
            given = self._take_candidates(chunk)
            if chunk.is_readable:
                self._read(chunk, given, 0)
                yield from self._drain()
                # one at a time, at least: a job must not wait for nothing
                while self._read_ahead.num_open >= MAX_READINGS and (self._readings or self._mendings):
                    yield None
                    yield from self._drain()
            else:
                for candidate in given:
                    self._leave(candidate, None)
        while self._readings or self._mendings or self._ready:
            yield from self._drain()
            if self._readings or self._mendings:
                yield None

    def _drain(self) -> Iterator[Request]:
        while self._ready:
            yield self._ready.popleft()

    def _take_candidates(self, chunk: Chunk) -> list[Candidate]:
        first = bisect_left(self._candidates, (chunk.start, 0), lo=self._num_taken, key=_place)
        self._num_taken = _find_end(self._candidates, chunk, first)
        return self._candidates[first : self._num_taken]

    def _read(self, chunk: Chunk, given: Sequence[Candidate], num_splits: int) -> None:
        reading = self._open(chunk, given, num_splits)
        if reading.frame and len(reading.token_ids) > MAX_READ_TOKENS and num_splits < MAX_SPLITS and (halves := split_chunk(chunk)):
            # one of the halves is asked about in the chunk's place
            self.num_read += not num_splits
            self.num_further += 1
            self._read_halves(halves, given, num_splits + 1)
            return
        sampling = Sampling(score_from=len(reading.frame) + reading.first_scored, num_alternatives=NUM_ALTERNATIVES)
        request = self._request(chunk, READ_TEMPLATE, [*reading.frame, *reading.token_ids], sampling)
        self._readings[request.chunk_id] = reading
        self._read_ahead.num_open += 1
        self._ready.append(request)

    def _open(self, chunk: Chunk, given: Sequence[Candidate], num_splits: int) -> Reading:
        text, offset = chunk.context_before + chunk.text + chunk.context_after, chunk.start - len(chunk.context_before)
        if self._copy_form is None:
            tokens = self._tokenizer.encode_with_offsets(text)
            return Reading(chunk, given, offset, text, tokens.ids, [start for start, _ in tokens.offsets], num_splits=num_splits)
        text = unwrap_lines(text)
        tokens = self._tokenizer.encode_with_offsets(show_lines(text))
        frame = self._copy_form.frame(tokens.ids)
        return Reading(chunk, given, offset, text, tokens.ids, find_starts(text, tokens), num_splits=num_splits, frame=frame)

    def _read_halves(self, halves: tuple[Chunk, Chunk], given: Sequence[Candidate], num_splits: int) -> None:
        end = _find_end(given, halves[0], 0)
        self._read(halves[0], given[:end], num_splits)
        self._read(halves[1], given[end:], num_splits)

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

    def classify(self, completion: Completion) -> Completion:
        """The completion as it is: log-probabilities are no good or bad answer, and words that were cut are as many as were asked for."""
        if completion.request.template == MEND_TEMPLATE and completion.outcome is Outcome.TRUNCATED:
            return replace(completion, outcome=Outcome.OK, error=None)
        return completion

    def follows(self, completion: Completion) -> bool:
        """Whether the chunk that could not be read is read in halves."""
        return bool(self._find_halves(completion))

    def _find_halves(self, completion: Completion) -> tuple[Chunk, Chunk] | None:
        request = completion.request
        if request.template != READ_TEMPLATE or next_action(completion.outcome, request.attempt) is not Action.SPLIT:
            return None
        reading = self._readings[request.chunk_id]
        return split_chunk(reading.chunk) if reading.num_splits < MAX_SPLITS else None

    def receive(self, completion: Completion) -> None:
        """A reading makes its chunk's variants ready, or the halves of a chunk too long; a variant becomes the scores of its candidates."""
        request, halves = completion.request, self._find_halves(completion)
        self.asked.append(record_asked(completion, is_final=not halves))
        if request.template == READ_TEMPLATE:
            reading = self._readings.pop(request.chunk_id)
            self._read_ahead.num_open -= 1
            self.num_read += not reading.num_splits
            self.num_further += 2 * bool(halves)
            if halves:
                self._read_halves(halves, reading.given, reading.num_splits + 1)
            elif completion.outcome is not Outcome.OK:
                self.failures.append(completion)
            else:
                reading.learn(completion)
                if self._copy_form:
                    self._mend(reading, self._copy_form)
                else:
                    self._judge_all(reading, self._propose(reading))
            return
        if request.template == MEND_TEMPLATE:
            self._receive_mend(completion)
            return
        variants = self._variants.pop(request.row_key)
        if completion.outcome is not Outcome.OK:
            self.failures.append(completion)
            return
        after = sum(completion.logprobs)
        self.scores.extend(_score(variant.candidate, variant.surprise, request.row_key, after - variant.before) for variant in variants)

    def _mend(self, reading: Reading, form: CopyForm) -> None:
        mending = _Mending(reading, 0, [])
        chunk = reading.chunk
        sampling = Sampling(max_tokens=MAX_MEND_TOKENS, stop_token_ids=(form.end,))
        for doubt in find_doubts(reading, form):
            request = self._request(chunk, MEND_TEMPLATE, [*reading.frame, *reading.token_ids[: doubt.index], *doubt.token_ids], sampling)
            mending.num_open += 1
            self._doubts.setdefault(request.row_key, []).append((chunk.chunk_id, doubt))
            if len(self._doubts[request.row_key]) == 1:
                self._ready.append(request)
                self.num_further += 1
        if mending.num_open:
            self._mendings[chunk.chunk_id] = mending
            self._read_ahead.num_open += 1
        else:
            self._judge_all(reading, ())

    def _receive_mend(self, completion: Completion) -> None:
        is_usable = completion.outcome is Outcome.OK and completion.text is not None
        if not is_usable:
            self.failures.append(completion)
        for chunk_id, doubt in self._doubts.pop(completion.request.row_key):
            mending = self._mendings[chunk_id]
            mending.num_open -= 1
            if is_usable:
                words = self._tokenizer.decode(doubt.token_ids) + (completion.text or "")
                candidate = read_mend(mending.reading, doubt, words, is_at_end=completion.finish_reason == "stop")
                if candidate:
                    mending.found.append(candidate)
            if not mending.num_open:
                del self._mendings[chunk_id]
                self._read_ahead.num_open -= 1
                self._judge_all(mending.reading, mending.found)

    def _judge_all(self, reading: Reading, proposed: Iterable[Candidate]) -> None:
        seen: set[tuple[int, int, str, str]] = set()
        for candidate in (*reading.given, *sorted(proposed, key=lambda each: (each.start, each.end, each.replacement))):
            key = candidate.start, candidate.end, candidate.replacement, candidate.detector
            if key not in seen:
                seen.add(key)
                self._judge(reading, candidate)

    def _leave(self, candidate: Candidate, surprise: float | None) -> None:
        self.scores.append(_score(candidate, surprise, None, None))

    def _judge(self, reading: Reading, candidate: Candidate) -> None:
        start, end = candidate.start - reading.offset, candidate.end - reading.offset
        if end > len(reading.text):  # it goes on in a chunk that is no context of this one
            self._leave(candidate, None)
            return
        changed = reading.token_at(max(start, end - 1))
        surprise = reading.sums[reading.word_at(start)] - reading.sums[min(changed + 2, len(reading.logprobs))]
        if surprise < self._min_surprise:
            self._leave(candidate, surprise)
            return
        # from the character before the change: a change that takes white space away must not take the tail's first
        first = reading.word_at(max(0, start - 1))
        last = min(changed + 1 + TAIL_TOKENS, len(reading.token_ids))
        while last < len(reading.token_ids) and not reading.is_word_start(last):
            last += 1
        tail_end = reading.starts[last] if last < len(reading.token_ids) else len(reading.text)
        tail = reading.text[reading.starts[first] : start] + candidate.replacement + reading.text[end:tail_end]
        token_ids = [*reading.token_ids[:first], *self._tokenizer.encode_with_offsets(show_lines(tail) if reading.frame else tail).ids]
        score_from = max(first, reading.first_scored)
        # a token that has no probability must stay what it was
        if len(token_ids) <= score_from or token_ids[: reading.first_scored] != reading.token_ids[: reading.first_scored]:
            self._leave(candidate, surprise)
            return
        sampling = Sampling(score_from=len(reading.frame) + score_from)
        request = self._request(reading.chunk, JUDGE_TEMPLATE, [*reading.frame, *token_ids], sampling)
        variant = _Variant(candidate, reading.sums[last] - reading.sums[score_from], surprise)
        if request.row_key in self._variants:
            self._variants[request.row_key].append(variant)
        else:
            self._variants[request.row_key] = [variant]
            self._ready.append(request)
            self.num_further += 1


def _place(candidate: Candidate) -> tuple[int, int]:
    return candidate.start, candidate.end


def _find_end(candidates: Sequence[Candidate], chunk: Chunk, first: int) -> int:
    """How many of the sorted candidates belong to the chunk or to what is before it: an insertion at its end does."""
    return bisect_left(candidates, (chunk.end, chunk.end + 1), lo=first, key=_place)


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
