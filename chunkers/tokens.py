"""A model's tokeniser: ids, counts and offsets from its `tokenizer.json`. Knows nothing of templates or special tokens."""

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import tokenizers

from chunkers.pretokens import find_counts

BATCH_CHARS = 1 << 20
"""Code points encoded in one call; an encoding costs some hundred times the memory of its text."""
_SPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokens of one text."""

    ids: list[int]
    offsets: list[tuple[int, int]]
    """Code points `[start, end)` of each token. Tokens that are parts of one code point share its offsets."""


class Tokenizer:
    """Encodes texts as they are: no special tokens, no truncation, no padding."""

    def __init__(self, tokenizer_path: str | Path) -> None:
        self._path = path = Path(tokenizer_path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}; a tokeniser is a readable tokenizer.json; check the path") from error
        self.fingerprint = sha256(data).hexdigest()
        """Sha256 of the file, hex."""
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(data)
        except ValueError as error:
            raise ValueError(f"{path}: not a tokenizer.json ({error}); give the file that Hugging Face tokenizers wrote") from error
        # a post-processor is for special tokens, which are never added here, and can move a token's start past its space
        self._tokenizer.post_processor = None
        # «<|im_end|>» in a document is text, not the end of a message
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._words = find_counts(data, lambda word: len(self._tokenizer.encode(word, add_special_tokens=False)))

    def encode_blocks(self, texts: Sequence[str]) -> list["array[int]"]:
        """The ids of each text, in order.

        A text over a million code points is encoded in parts cut before white space, which keeps memory bounded.
        """
        ids: list[array[int]] = [array("I") for _ in texts]
        for index, encoding in self._encode(texts):
            ids[index].extend(encoding.ids)
        return ids

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, in order: the lengths of what `encode_blocks` returns, without the ids."""
        counts = [None if self._words is None else self._words.count(text) for text in texts]
        odd = [index for index, count in enumerate(counts) if count is None]
        by_tokenizer = [0] * len(odd)
        for place, encoding in self._encode([texts[index] for index in odd]):
            by_tokenizer[place] += len(encoding)
        told = iter(by_tokenizer)
        return [next(told) if count is None else count for count in counts]

    def encode_with_offsets(self, text: str) -> Tokens:
        """The ids of one text and where in it each token stands."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return Tokens(ids=encoding.ids, offsets=encoding.offsets)

    def encode_template(self, text: str) -> list[int]:
        """The ids of text that may give orders to a model, such as a chat template's own: its special tokens are read as such."""
        ids: list[int] = self._reading_special_tokens.encode(text, add_special_tokens=False).ids
        return ids

    def encode_prompt(self, text: str) -> list[int]:
        """The ids of a whole prompt as its author wrote it for the model: special tokens are read as such, and those that the tokeniser
        puts around every text, such as one for its beginning, are added."""
        ids: list[int] = self._as_it_came.encode(text, add_special_tokens=True).ids
        return ids

    @cached_property
    def _as_it_came(self) -> tokenizers.Tokenizer:
        tokenizer = tokenizers.Tokenizer.from_buffer(self._path.read_bytes())
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _reading_special_tokens(self) -> tokenizers.Tokenizer:
        # one of its own: the switch is not part of what is serialised, and threads share this object
        return tokenizers.Tokenizer.from_str(self._tokenizer.to_str())

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens included."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def _encode(self, texts: Sequence[str]) -> Iterator[tuple[int, tokenizers.Encoding]]:
        """Encodings with the index of their text, in order; at most about BATCH_CHARS are encoded at once."""
        indexes: list[int] = []
        parts: list[str] = []
        num_chars = 0
        for index, text in enumerate(texts):
            for part in _cut_text(text) if len(text) > BATCH_CHARS else (text,):
                indexes.append(index)
                parts.append(part)
                num_chars += len(part)
                if num_chars >= BATCH_CHARS:
                    yield from zip(indexes, self._encode_parts(parts), strict=True)
                    indexes, parts, num_chars = [], [], 0
        yield from zip(indexes, self._encode_parts(parts), strict=True)

    def _encode_parts(self, parts: list[str]) -> list[tokenizers.Encoding]:
        encodings: list[tokenizers.Encoding] = self._tokenizer.encode_batch_fast(parts, add_special_tokens=False)
        return encodings


def _cut_text(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > BATCH_CHARS:
        space = _SPACE.search(text, start + BATCH_CHARS - 4096, start + BATCH_CHARS)
        end = space.start() if space else start + BATCH_CHARS
        yield text[start:end]
        start = end
    yield text[start:]
