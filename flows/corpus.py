"""Inputs into shards: whole documents, chunked, in Parquet files of a bounded number of tokens; and documents back out of shards."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from glob import glob
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path, PurePosixPath

from chunkers.passages import apply_style
from chunkers.paths import AnyPath, ObjectPath, StorageError, is_url, is_web, path_of
from chunkers.readers import TEXT_SUFFIXES, Unread, parse_document, read_documents
from chunkers.readers.tables import TableColumns
from chunkers.records import CHUNKS, DOCUMENTS, Chunk, Document, DocumentError
from chunkers.shards import MAX_SHARD_TOKENS, read_shard, write_shard
from chunkers.tokens import BATCH_CHARS, Tokenizer
from chunkers.windows import block_texts, window_document
from flows.runs import write_shard_names
from flows.styles import StyleBook, find_sheet, read_styles, style_of
from postprocess.assemble import rebuild_text

logger = logging.getLogger(__name__)

MAX_TOLD = 20
"""Inputs or rows that cannot be read and are told of while it runs."""


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
    table: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What the inputs became on disk."""

    documents_path: AnyPath
    shard_paths: tuple[AnyPath, ...]
    num_prose_chunks: tuple[int, ...]
    """Chunks that a model is asked about, by shard."""
    unread: tuple[Unread, ...]
    num_documents: int
    num_words: int


class NothingFitsError(DocumentError):
    """A pattern that fits no file; it may later."""


def expand_inputs(patterns: Iterable[str]) -> list[str]:
    """Files for each input, in the order given, sorted within a pattern or folder, each once. One that fits nothing is an error.

    Raises DocumentError, and StorageError where a store cannot be asked.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        if (pattern.endswith("/") and not is_web(pattern)) if is_url(pattern) else _is_folder(pattern):
            found |= dict.fromkeys(_list_folder(pattern))
            continue
        if is_web(pattern) or not any(mark in pattern for mark in "*?[") or _exists(pattern):
            found[pattern] = None
            continue
        matches = _list_objects(pattern) if is_url(pattern) else _list_files(pattern)
        if not matches:
            raise NothingFitsError(f"{pattern}: no file fits; a pattern must fit at least one file; check it, and quote it for the shell.")
        found |= dict.fromkeys(matches)
    return list(found)


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def _list_folder(folder: str) -> list[str]:
    """What of a folder, at any depth, is text or a table by its name; hidden files and a workspace in it are not looked at."""
    files = _list_objects(f"{folder.rstrip('/')}/**") if is_url(folder) else list(_walk(Path(folder)))
    texts = [path for path in files if PurePosixPath(path).suffix.lower() in TEXT_SUFFIXES]
    if not texts:
        raise NothingFitsError(
            f"{folder}: no text in it; of a folder, files named {', '.join(sorted(TEXT_SUFFIXES))} are read; name others themselves"
        )
    if len(texts) < len(files):
        kinds = Counter(PurePosixPath(path).suffix.lower() or "no suffix" for path in files if path not in set(texts))
        told = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))[:5])
        logger.warning("%s: %s files in it are no text by their names and are left out (%s).", folder, len(files) - len(texts), told)
    return sorted(texts)


def _walk(folder: Path) -> Iterator[str]:
    for at, folders, names in os.walk(folder):
        is_workspace = {"calls", "runs"} <= {*folders}
        folders[:] = [] if is_workspace else [name for name in folders if not name.startswith(".")]
        yield from (str(Path(at, name)) for name in names if not is_workspace and not name.startswith("."))


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
    columns: TableColumns = TableColumns(),  # noqa: B008 - frozen
) -> Corpus:
    """Read every input once and write its chunks; an input or a row that cannot be read is reported and the others go on.

    Shards are in the order of inputs and hold whole documents: one is closed once it has `max_shard_tokens`. Two with the same bytes
    are one document. Style sheets do not decide where a document is cut. In memory are the largest document, a shard, and 150 bytes for
    each document so far. Raises ConfigError for a style sheet that cannot be used.
    """
    styles = StyleBook(style_path)
    writer = _ShardWriter(folder / "chunks", max_shard_tokens)
    reader = _Reader(inputs, columns, style_path)
    documents_path = folder / "documents.parquet"

    def add_documents() -> Iterator[DocumentRow]:
        for document, counts in _count_tokens(reader.read(), tokenizer):
            styles.apply(document)
            row = _document_row(document)
            sizes = {"max_tokens": max_tokens, "max_context_tokens": max_context_tokens}
            writer.add(row, window_document(document, counts, tokenizer.count_tokens, **sizes))
            yield row
        writer.close()

    write_shard(str(documents_path), DOCUMENTS, add_documents())
    for warning in (*reader.list_repeated(), *styles.list_missing()):
        logger.warning("%s", warning)
    write_shard_names(folder, (path.name for path in writer.paths))
    styles.write(folder)
    return Corpus(
        documents_path=documents_path,
        shard_paths=tuple(writer.paths),
        num_prose_chunks=tuple(writer.num_prose_chunks),
        unread=tuple(reader.unread),
        num_documents=writer.num_documents,
        num_words=writer.num_words,
    )


class _Reader:
    """The documents of the inputs, each once."""

    def __init__(self, inputs: Iterable[str], columns: TableColumns, style_path: str | None) -> None:
        self.unread: list[Unread] = []
        self._inputs, self._columns, self._style_path = inputs, columns, style_path
        self._files: dict[bytes, str] = {}
        """The file in which each document was found first."""
        self._num_repeated: Counter[str] = Counter()

    def read(self) -> Iterator[Document]:
        for path in self._inputs:
            try:
                for found in read_documents(path, self._columns):
                    if isinstance(found, Unread):
                        self._note(found)
                    elif self._is_new(found):
                        yield found
            except DocumentError as error:
                self._note(Unread(path=path, message=str(error)))

    def list_repeated(self) -> Iterator[str]:
        for table, number in self._num_repeated.items():
            yield f"{number:,} rows of {table} have the text of others before them; each text is read once."

    def _note(self, unread: Unread) -> None:
        self.unread.append(unread)
        if len(self.unread) <= MAX_TOLD:
            logger.warning("%s", unread.message)
        elif len(self.unread) == MAX_TOLD + 1:
            logger.warning("More inputs cannot be read; they are all in the table of errors.")

    def _is_new(self, document: Document) -> bool:
        path, key = document.table or document.path, bytes.fromhex(document.doc_id)
        first = self._files.get(key)
        if first is None:
            self._files[key] = path
            return True
        if document.table is not None:
            self._num_repeated[path] += 1
            return False
        is_other = find_sheet(path, self._style_path).style != find_sheet(first, self._style_path).style
        held = ", with the style sheet of that one" if is_other else ""
        logger.warning("%s has the same bytes as %s; it is read once%s.", path, first, held)
        return False


def _count_tokens(documents: Iterable[Document], tokenizer: Tokenizer) -> Iterator[tuple[Document, list[int]]]:
    """Each document with the tokens of its blocks; small ones are counted together, which a tokeniser does with all cores."""
    batch: list[Document] = []
    num_chars = 0
    for document in documents:
        batch.append(document)
        num_chars += len(document.text)
        if num_chars >= BATCH_CHARS:
            yield from _count_batch(batch, tokenizer)
            batch, num_chars = [], 0
    yield from _count_batch(batch, tokenizer)


def _count_batch(batch: list[Document], tokenizer: Tokenizer) -> Iterator[tuple[Document, list[int]]]:
    counts = iter(tokenizer.count_tokens([text for document in batch for text in block_texts(document)]))
    for document in batch:
        yield document, list(islice(counts, len(document.blocks)))


class _ShardWriter:
    def __init__(self, folder: AnyPath, max_tokens: int) -> None:
        self.paths: list[AnyPath] = []
        self.num_prose_chunks: list[int] = []
        self.num_documents = self.num_words = 0
        self._folder, self._max_tokens, self._num_tokens = folder, max_tokens, 0
        self._rows, self._chunks = list[DocumentRow](), list[Chunk]()

    def add(self, row: DocumentRow, chunks: list[Chunk]) -> None:
        self.num_documents += 1
        self.num_words += row.num_words
        self._rows.append(row)
        self._chunks += chunks
        self._num_tokens += sum(chunk.num_tokens for chunk in chunks)
        if self._num_tokens >= self._max_tokens:
            self.close()

    def close(self) -> None:
        if self._chunks:
            path = self._folder / f"shard-{len(self.paths):05}.parquet"
            write_shard(str(_rows_path(path)), DOCUMENTS, self._rows)
            write_shard(str(path), CHUNKS, self._chunks)
            self.paths.append(path)
            self.num_prose_chunks.append(sum(chunk.is_readable for chunk in self._chunks))
        self._rows, self._chunks, self._num_tokens = [], [], 0


def _rows_path(shard_path: AnyPath) -> AnyPath:
    """Beside a shard of chunks: the rows of its documents, so that nobody has to read those of all."""
    return shard_path.with_name(shard_path.name.replace("shard", "documents"))


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
        table=document.table,
    )


def read_rows(documents_path: AnyPath) -> dict[str, DocumentRow]:
    """The documents table by doc_id, in its order."""
    return {row.doc_id: row for row in read_shard(str(documents_path), DocumentRow)}


def restore_corpus(shard_paths: Iterable[AnyPath], documents_path: AnyPath) -> Iterator[Document]:
    """Every document of a run: those of the shards in their order, then those without a single character, which no shard holds."""
    for path in shard_paths:
        for document, _ in restore_documents(path, documents_path):
            yield document
    for row in read_shard(str(documents_path), DocumentRow):
        if not row.num_chars:
            yield _parse_row(row.bom.encode(row.encoding), row)


def _parse_row(data: bytes, row: DocumentRow) -> Document:
    return replace(parse_document(data, row.path, format=row.format), table=row.table)


def restore_documents(shard_path: AnyPath, documents_path: AnyPath) -> Iterator[tuple[Document, list[Chunk]]]:
    """Each document of a shard as it was read, from its chunks alone: the source file is not needed and may have changed since; with the
    style sheet that it had then.

    Raises DocumentError where the chunks do not give the document's bytes back.
    """
    own_path = _rows_path(shard_path)
    rows = read_rows(own_path if own_path.exists() else documents_path)  # a run of an older version has but the rows of all
    styles = read_styles(documents_path.parent)
    for doc_id, group in groupby(read_shard(str(shard_path), Chunk), key=attrgetter("doc_id")):
        chunks, row = list(group), rows[doc_id]
        document = _parse_row((row.bom + rebuild_text(chunks)).encode(row.encoding), row)
        if document.doc_id != doc_id:
            raise DocumentError(
                f"{shard_path}: the chunks of {row.path} do not give its bytes back; delete the run's folder and run again."
            )
        yield apply_style(document, style_of(styles.get(doc_id))).document, chunks
