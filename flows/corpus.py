"""Inputs into shards: whole documents, chunked, in Parquet files of a bounded number of tokens; and documents back out of shards."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import glob
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from chunkers.passages import apply_style
from chunkers.paths import AnyPath, ObjectPath, is_url, is_web, path_of
from chunkers.readers import parse_document, read_document
from chunkers.records import CHUNKS, DOCUMENTS, Chunk, Document, DocumentError
from chunkers.shards import MAX_SHARD_TOKENS, read_shard, write_shard
from chunkers.storage import StorageError
from chunkers.tokens import Tokenizer
from chunkers.windows import block_texts, window_document
from flows.runs import write_shard_names
from flows.styles import StyleBook, find_sheet, read_styles, style_of
from postprocess.assemble import rebuild_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRow:
    """A row of `documents`."""

    doc_id: str
    path: str
    format: str
    encoding: str
    bom: str
    title: str | None
    language: str | None
    notes: tuple[str, ...]
    num_chars: int
    num_words: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """An input that could not be read."""

    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What the inputs became on disk."""

    documents_path: AnyPath
    shard_paths: tuple[AnyPath, ...]
    num_prose_chunks: tuple[int, ...]
    """Chunks that a model is asked about, by shard."""
    unread: tuple[Unread, ...]


class NothingFitsError(DocumentError):
    """A pattern that fits no file; it may later."""


def expand_inputs(patterns: Iterable[str]) -> list[str]:
    """Files for each input, in the order given, sorted within a pattern, each once. An input with a wildcard that fits nothing is an error.

    Raises DocumentError, and StorageError where a store cannot be asked.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        if is_web(pattern) or not any(mark in pattern for mark in "*?[") or _exists(pattern):
            found[pattern] = None
            continue
        matches = _list_objects(pattern) if is_url(pattern) else _list_files(pattern)
        if not matches:
            raise NothingFitsError(f"{pattern}: no file fits; a pattern must fit at least one file; check it, and quote it for the shell.")
        found |= dict.fromkeys(matches)
    return list(found)


def _list_files(pattern: str) -> list[str]:
    found = glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob refuses what a shell takes
    return sorted(path for path in found if Path(path).is_file())


def _list_objects(pattern: str) -> list[str]:
    scheme, _, rest = pattern.partition("://")
    bucket, _, key = rest.partition("/")
    if not key or any(mark in bucket for mark in "*?["):
        raise DocumentError(f"{pattern}: a pattern is of names in one bucket; it is written s3://bucket/*.md; give the bucket's name.")
    return [str(path) for path in ObjectPath(f"{scheme}://{bucket}").glob(key)]


def _exists(path: str) -> bool:
    try:
        return path_of(path).exists()
    except StorageError:
        raise
    except OSError:
        return False  # a name too long, or a folder that may not be entered: the reader says so


def build_corpus(
    inputs: Iterable[str],
    folder: AnyPath,
    tokenizer: Tokenizer,
    *,
    max_tokens: int,
    max_context_tokens: int,
    max_shard_tokens: int = MAX_SHARD_TOKENS,
    style_path: str | None = None,
) -> Corpus:
    """Read every input once and write its chunks; an input that cannot be read is reported and the others go on.

    Shards are in the order of inputs and hold whole documents: one is closed once it has `max_shard_tokens`. Two inputs with the same
    bytes are one document. Style sheets do not decide where a document is cut. Raises ConfigError for one that cannot be used.
    """
    styles = StyleBook(style_path)
    writer = _ShardWriter(folder / "chunks", max_shard_tokens)
    rows: dict[str, DocumentRow] = {}
    unread: list[Unread] = []
    for path in inputs:
        try:
            document = read_document(path)
        except DocumentError as error:
            logger.warning("%s", error)
            unread.append(Unread(path=path, message=str(error)))
            continue
        if document.doc_id in rows:
            first = rows[document.doc_id].path
            is_other = find_sheet(path, style_path).style != find_sheet(first, style_path).style
            held = ", with the style sheet of that one" if is_other else ""
            logger.warning("%s has the same bytes as %s; it is read once%s.", path, first, held)
            continue
        rows[document.doc_id] = _document_row(document)
        styles.apply(document)
        counts = tokenizer.count_tokens(block_texts(document))
        writer.add(window_document(document, counts, tokenizer.count_tokens, max_tokens=max_tokens, max_context_tokens=max_context_tokens))
    writer.close()
    for warning in styles.list_missing():
        logger.warning("%s", warning)
    write_shard_names(folder, (path.name for path in writer.paths))
    styles.write(folder)
    documents_path = folder / "documents.parquet"
    write_shard(str(documents_path), DOCUMENTS, sorted(rows.values(), key=lambda row: (row.path, row.doc_id)))
    return Corpus(
        documents_path=documents_path,
        shard_paths=tuple(writer.paths),
        num_prose_chunks=tuple(writer.num_prose_chunks),
        unread=tuple(unread),
    )


class _ShardWriter:
    def __init__(self, folder: AnyPath, max_tokens: int) -> None:
        self.paths: list[AnyPath] = []
        self.num_prose_chunks: list[int] = []
        self._folder, self._max_tokens, self._chunks, self._num_tokens = folder, max_tokens, list[Chunk](), 0

    def add(self, chunks: list[Chunk]) -> None:
        self._chunks += chunks
        self._num_tokens += sum(chunk.num_tokens for chunk in chunks)
        if self._num_tokens >= self._max_tokens:
            self.close()

    def close(self) -> None:
        if self._chunks:
            path = self._folder / f"shard-{len(self.paths):05}.parquet"
            write_shard(str(path), CHUNKS, self._chunks)
            self.paths.append(path)
            self.num_prose_chunks.append(sum(chunk.is_readable for chunk in self._chunks))
            self._chunks, self._num_tokens = [], 0


def share_limit(limit: int | None, num_chunks: tuple[int, ...]) -> list[int | None]:
    """How many chunks of each shard belong to the first `limit` of the run; None for all."""
    before = [sum(num_chunks[:index]) for index in range(len(num_chunks))]
    return [None if limit is None else max(0, limit - earlier) for earlier in before]


def _document_row(document: Document) -> DocumentRow:
    return DocumentRow(
        doc_id=document.doc_id,
        path=document.path,
        format=document.format,
        encoding=document.encoding,
        bom=document.bom,
        title=document.title,
        language=document.language,
        notes=document.notes,
        num_chars=len(document.text),
        num_words=document.num_words,
    )


def read_rows(documents_path: AnyPath) -> dict[str, DocumentRow]:
    """The documents table by doc_id, in its order."""
    return {row.doc_id: row for row in read_shard(str(documents_path), DocumentRow)}


def restore_corpus(shard_paths: Iterable[AnyPath], documents_path: AnyPath) -> Iterator[Document]:
    """Every document of a run: those of the shards in their order, then those without a single character, which no shard holds."""
    for path in shard_paths:
        for document, _ in restore_documents(path, documents_path):
            yield document
    for row in read_rows(documents_path).values():
        if not row.num_chars:
            yield parse_document(row.bom.encode(row.encoding), row.path)


def restore_documents(shard_path: AnyPath, documents_path: AnyPath) -> Iterator[tuple[Document, list[Chunk]]]:
    """Each document of a shard as it was read, from its chunks alone: the source file is not needed and may have changed since; with the
    style sheet that it had then.

    Raises DocumentError where the chunks do not give the document's bytes back.
    """
    rows, styles = read_rows(documents_path), read_styles(documents_path.parent)
    for doc_id, group in groupby(read_shard(str(shard_path), Chunk), key=attrgetter("doc_id")):
        chunks, row = list(group), rows[doc_id]
        document = parse_document((row.bom + rebuild_text(chunks)).encode(row.encoding), row.path)
        if document.doc_id != doc_id:
            raise DocumentError(
                f"{shard_path}: the chunks of {row.path} do not give its bytes back; delete the run's folder and run again."
            )
        yield apply_style(document, style_of(styles.get(doc_id))).document, chunks
