"""The rows of a batch file as a job of the feed: planned a window at a time, the next one while the engine works on this one."""

import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from chunkers.tokens import Tokenizer
from engine.batch_bodies import Url
from engine.batch_file import BatchFile, NumberedRow
from engine.batch_lines import Failure, RowEnd, failure_of, is_answer
from engine.batch_rows import BatchRow
from engine.folders import read_json
from engine.prefixes import plan_prefixes
from engine.prompts import ChatRenderer
from engine.records import Completion, Outcome, Request, Sampling

TEMPLATE, TEMPLATE_VERSION = "batch", 1
"""What the call table has as the template of these calls."""
COMPLETION_TOKENS = 16
"""Limit of a completion whose row has none, as OpenAI has it; a chat's answer may be as long as the model's length allows."""
WINDOW_ROWS = 50_000
WINDOW_TOKENS = 16_000_000
"""Prompts that are held and planned together: whichever is reached first. A token takes four bytes."""
_RENDERED_AT_ONCE = 256

KeyOf = Callable[[Sequence[int], Sampling, int], str]
"""The row key of a prompt, its sampling and the index of the sample."""


def read_defaults(model_folder: Path) -> dict[str, Any]:
    """What the model's own `generation_config.json` has of sampling, by the names of Sampling; as vLLM does, for rows that say nothing.

    Raises ModelError where it cannot be read.
    """
    path = model_folder / "generation_config.json"
    given = read_json(path) if path.is_file() else {}
    names = {name: name for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")} | {"max_new_tokens": "max_tokens"}
    numbers = {ours: given[theirs] for theirs, ours in names.items() if _is_number(given.get(theirs))}
    return {name: int(value) if name in ("top_k", "max_tokens") else float(value) for name, value in numbers.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRenderer:
    """Rows -> token ids, and how they are sampled, for one model of this machine."""

    tokenizer: Tokenizer
    load_chat: Callable[[], ChatRenderer]
    """Called at the first chat row; raises ModelError where the model has no chat template."""
    max_model_len: int
    defaults: Mapping[str, Any]
    """As `read_defaults` gives them."""

    def check(self, row: BatchRow) -> None:
        """Raises ValueError where the chat template refuses the row's messages."""
        if row.conversation is not None:
            self.load_chat().check_messages(row.conversation)

    def is_drawn(self, row: BatchRow) -> bool:
        """Whether asking the row twice gives two answers."""
        return "seed" not in row.sampling and self._given(row)["temperature"] > 0

    def draw_of(self, row: BatchRow) -> str | None:
        """The same for all rows whose answers are drawn alike, whatever their limits; None where they are decided."""
        sampling = Sampling(**self._given(row) | {"max_tokens": 1})
        return repr((row.conversation, row.prompts, sampling)) if self.is_drawn(row) else None

    def render(self, rows: Sequence[BatchRow]) -> list[list["array[int]"]]:
        """The prompts of each row."""
        chats = [row.conversation for row in rows if row.conversation is not None]
        rendered = iter(self.load_chat().render_messages(chats) if chats else ())
        return [[next(rendered)] if row.conversation is not None else [self._encode(prompt) for prompt in row.prompts] for row in rows]

    def _encode(self, prompt: str | tuple[int, ...]) -> "array[int]":
        return array("I", self.tokenizer.encode_prompt(prompt) if isinstance(prompt, str) else prompt)

    def sampling(self, row: BatchRow, num_prompt_tokens: int, sample: int) -> Sampling:
        """Of one sample of a prompt: what the row says, then what the model says, then what OpenAI does."""
        given = self._given(row)
        room = self.max_model_len - num_prompt_tokens
        asked = given.get("max_tokens", room) if row.url is Url.CHAT else row.sampling.get("max_tokens", COMPLETION_TOKENS)
        seed = given.get("seed")
        return Sampling(**given | {"max_tokens": min(asked, room), "seed": None if seed is None else _wrap(seed + sample)})

    def _given(self, row: BatchRow) -> dict[str, Any]:
        return {"temperature": 1.0, **self.defaults, **row.sampling}


def _wrap(seed: int) -> int:
    return (seed + 2**63) % 2**64 - 2**63


@dataclass(slots=True)
class _OpenRow:
    """A row that waits for answers."""

    number: int
    custom_id: str
    url: Url
    num_samples: int
    completions: list[Completion | None]
    num_waiting: int


@dataclass(slots=True)
class _Prompt:
    """One prompt of a row."""

    open: _OpenRow
    index: int
    """Of the prompt in its row."""
    row: BatchRow
    first_sample: int
    token_ids: "array[int]"


@dataclass(slots=True)
class _Window:
    prompts: list[_Prompt] = field(default_factory=list)
    order: Sequence[int] = ()
    failed: list[RowEnd] = field(default_factory=list)


class BatchJob:
    """Asks every row of a batch file once, in the order that shares most, and tells how each ended."""

    def __init__(
        self,
        file: BatchFile,
        renderer: RowRenderer,
        key_of: KeyOf,
        end: Callable[[RowEnd], None],
        *,
        block_size: int,
        window_rows: int = WINDOW_ROWS,
        window_tokens: int = WINDOW_TOKENS,
    ) -> None:
        """`end` is called in the feed's thread, once for each row that can be answered; `block_size` is the engine's, in tokens.

        Reading begins at once.
        """
        self._file, self._renderer, self._key_of, self._end, self._block_size = file, renderer, key_of, end, block_size
        self._window_rows, self._window_tokens = window_rows, window_tokens
        self._open: dict[str, list[tuple[_OpenRow, int]]] = {}
        """By row key: rows and their places that a completion of the key answers."""
        self._is_closed = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._windows = self._make_windows()
        self._coming: Future[_Window | None] = self._pool.submit(next, self._windows, None)

    def close(self) -> None:
        """Stop reading ahead."""
        self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def requests(self) -> Iterator[Request | None]:
        """One request for each sample of each prompt; those of one prompt follow each other."""
        while True:
            while self._open and not self._coming.done():
                yield None
            window = self._coming.result()
            if window is None:
                return
            self._coming = self._pool.submit(next, self._windows, None)
            for failed in window.failed:
                self._end(failed)
            for index in window.order:
                yield from self._ask(window.prompts[index])

    def classify(self, completion: Completion) -> Completion:
        """As it came: what an answer is worth is for whoever asked to say."""
        return completion

    def follows(self, completion: Completion) -> bool:
        """A stored answer stands, also a cut one: it is what was asked for."""
        return is_answer(completion)

    def receive(self, completion: Completion) -> None:
        """Keep the answer until its row has all of them."""
        waiting = self._open[completion.request.row_key]
        row, place = waiting.pop()
        if not waiting:
            del self._open[completion.request.row_key]
        row.completions[place] = completion
        row.num_waiting -= 1
        if not row.num_waiting:
            completions = tuple(each for each in row.completions if each is not None)
            failure = next((failed for each in completions if (failed := failure_of(each))), None)
            self._end(_row_end(row, completions, failure))

    def _ask(self, prompt: _Prompt) -> Iterator[Request]:
        row, token_ids = prompt.row, tuple(prompt.token_ids)
        is_drawn, is_seeded = self._renderer.is_drawn(row), "seed" in row.sampling
        for sample in range(row.num_samples):
            sampling = self._renderer.sampling(row, len(token_ids), sample)
            place = prompt.index * row.num_samples + sample
            sample_index = prompt.first_sample + place if is_drawn else sample if is_seeded else 0
            key = self._key_of(token_ids, sampling, sample_index)
            self._open.setdefault(key, []).append((prompt.open, place))
            yield Request(
                row_key=key,
                doc_id=self._file.sha256,
                chunk_id=row.custom_id,
                template=TEMPLATE,
                template_version=TEMPLATE_VERSION,
                token_ids=token_ids,
                sampling=sampling,
                sample_index=sample_index,
            )

    def _make_windows(self) -> Iterator[_Window]:
        rows, window, num_tokens = self._file.rows(), _Window(), 0
        while batch := list(islice(rows, min(_RENDERED_AT_ONCE, self._window_rows))):
            if self._is_closed:
                return
            for numbered, prompts in zip(batch, self._renderer.render([each.row for each in batch]), strict=True):
                self._add(window, numbered, prompts)
                num_tokens += sum(map(len, prompts))
            if len(window.prompts) + len(window.failed) >= self._window_rows or num_tokens >= self._window_tokens:
                yield self._planned(window)
                window, num_tokens = _Window(), 0
        yield self._planned(window)

    def _add(self, window: _Window, numbered: NumberedRow, prompts: Sequence["array[int]"]) -> None:
        row = numbered.row
        num_places = len(prompts) * row.num_samples
        opened = _OpenRow(numbered.number, row.custom_id, row.url, row.num_samples, [None] * num_places, num_places)
        if failure := self._find_failure(prompts):
            window.failed.append(_row_end(opened, (), failure))
            return
        slim = replace(row, conversation=None, prompts=())  # the texts have become tokens
        window.prompts += [_Prompt(opened, index, slim, numbered.first_sample, ids) for index, ids in enumerate(prompts)]

    def _find_failure(self, prompts: Sequence["array[int]"]) -> Failure | None:
        """What the engine would say of a prompt; asked here, so that the same command again need not load one to hear it again."""
        length = self._renderer.max_model_len
        if (longest := max(map(len, prompts))) >= length:
            message = (
                f"The prompt has {longest} tokens; it must have fewer than max_model_len={length}, so that there is room for an answer; "
                "shorten it, or raise --max-model-len as far as the model allows."
            )
            return Failure(code=Outcome.INPUT_TOO_LONG.value, message=message)
        if not min(map(len, prompts)):
            return Failure(code=Outcome.ENGINE_ERROR.value, message="The prompt has no tokens; it must have one at least.")
        return None

    def _planned(self, window: _Window) -> _Window:
        prompts = [prompt.token_ids for prompt in window.prompts]
        limits = [self._renderer.sampling(prompt.row, len(prompt.token_ids), 0).max_tokens for prompt in window.prompts]
        window.order = plan_prefixes(prompts, block_size=self._block_size, expected_tokens=limits).order
        return window


def _row_end(row: _OpenRow, completions: tuple[Completion, ...], failure: Failure | None) -> RowEnd:
    return RowEnd(
        number=row.number,
        custom_id=row.custom_id,
        url=row.url,
        num_samples=row.num_samples,
        completions=completions,
        failure=failure,
    )
