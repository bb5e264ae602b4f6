"""The `edits` protocol's half on the engine: one request a chunk, the answers kept as they came."""

from collections.abc import Iterable, Iterator

from chunkers.records import Chunk
from engine.prompts import ChatRenderer, Prompt
from engine.records import Completion, Request, Sampling
from engine.score import KeyOf


class GenerateJob:
    """Asks a prompt of every prose chunk of one shard; a job of the feed."""

    def __init__(self, chunks: Iterable[Chunk], prompt: Prompt, renderer: ChatRenderer, sampling: Sampling, key_of: KeyOf) -> None:
        self.completions: list[Completion] = []
        """In the order of completion; every request's, whatever its outcome."""
        self._chunks, self._prompt, self._renderer, self._sampling, self._key_of = chunks, prompt, renderer, sampling, key_of

    def requests(self) -> Iterator[Request]:
        """One request for each chunk of prose, in the order of the chunks."""
        for chunk in self._chunks:
            if not chunk.is_readable:
                continue
            values = {"text": chunk.text, "context_before": chunk.context_before}
            token_ids = self._renderer.render(self._prompt, values)
            yield Request(
                row_key=self._key_of(token_ids, self._sampling),
                doc_id=chunk.doc_id,
                chunk_id=chunk.chunk_id,
                template=self._prompt.name,
                template_version=self._prompt.version,
                token_ids=tuple(token_ids),
                sampling=self._sampling,
            )

    def receive(self, completion: Completion) -> None:
        """Keep the answer."""
        self.completions.append(completion)
