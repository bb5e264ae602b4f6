"""One source file in, one Document out, or one for each row of a table. Owns the choice of reader by name; each format is one file
beside this one.

Offsets of a Document count code points of its text, and `document.encode()` gives the source bytes back for every document read here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath

import fsspec  # type: ignore[import-untyped]

import chunkers.storage  # noqa: F401 - leads fsspec to a store
from chunkers.paths import StorageError
from chunkers.readers import decode, markdown, text
from chunkers.readers.tables import TABLE_SUFFIXES, TableColumns, is_table, name_row, read_rows
from chunkers.records import Document, DocumentError

MARKDOWN_SUFFIXES = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mdx", ".qmd", ".rmd"})

UNREAD_SUFFIXES = {
    ".docx": "Word", ".doc": "Word", ".odt": "OpenDocument", ".rtf": "RTF", ".pdf": "PDF", ".epub": "EPUB", ".mobi": "Kindle",
    ".azw3": "Kindle", ".html": "HTML", ".htm": "HTML", ".xhtml": "HTML", ".xlsx": "Excel", ".xls": "Excel", ".pptx": "PowerPoint",
    ".zip": "zip", ".gz": "gzip", ".png": "an image", ".jpg": "an image", ".jpeg": "an image", ".gif": "an image",
}  # fmt: skip

UNREAD_MAGIC = (
    (b"PK\x03\x04", "a zip archive (Word, EPUB, …)"),
    (b"PK\x05\x06", "a zip archive"),
    (b"%PDF-", "PDF"),
    (b"{\\rtf", "RTF"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file"),
    (b"\x89PNG\r\n\x1a\n", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"PAR1", "Parquet"),
    (b"\x7fELF", "a program"),
)


TEXT_SUFFIXES = frozenset({*MARKDOWN_SUFFIXES, *TABLE_SUFFIXES, ".txt", ".text"})
"""What is taken of a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """An input, or a row of a table, that could not be read."""

    path: str
    message: str


def read_documents(url: str, columns: TableColumns) -> Iterator[Document | Unread]:
    """Yields the document that a file is, or those that the rows of a table are, in their order; for a row that is none, why.

    Raises as `read_document` does, for a table that breaks off after some of its rows.
    """
    if not is_table(url):
        yield read_document(url)
        return
    for row in read_rows(url, columns):
        name = name_row(url, row)
        if row.text is None:
            yield Unread(path=name, message=f"{name}: row {row.number}: {row.problem}")
            continue
        try:
            yield replace(parse_document(row.text.encode(), name, format=columns.format), table=url)
        except DocumentError as error:
            yield Unread(path=name, message=str(error))


def read_document(url: str) -> Document:
    """Reads one file from a path or an fsspec URL.

    Raises DocumentError where the file is missing, a folder, not readable, not text, or in a format that is not read yet; StorageError
    where its store cannot be asked, which says nothing of the file.
    """
    try:
        data = _read_bytes(url)
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise DocumentError(f"{url}: no such file; an input is a file that exists; check the path") from error
    except IsADirectoryError as error:
        raise DocumentError(f"{url}: a folder; an input is one file; name the files in it, such as '{url.rstrip('/')}/*.md'") from error
    except PermissionError as error:
        raise DocumentError(f"{url}: not readable ({error}); an input must be readable by you; change its permissions") from error
    except (OSError, ValueError, ImportError) as error:
        raise DocumentError(
            f"{url}: cannot be opened ({error}); an input is a path or an fsspec URL such as s3://bucket/book.md"
        ) from error
    return parse_document(data, url)


def parse_document(data: bytes, path: str, *, format: str | None = None) -> Document:
    """Parses the bytes of one file; the suffix of `path` decides the format where none is given: `markdown` or `text`.
    `parse_document(data, path).encode() == data`.

    Raises DocumentError for data that is not text, or in a format that is not read yet.
    """
    if format is None:
        suffix = PurePosixPath(path).suffix.lower()
        _refuse_unread(data, suffix, path)
        format = "markdown" if suffix in MARKDOWN_SUFFIXES else "text"
    decoded = decode.decode_bytes(data, path)
    doc_id = sha256(data).hexdigest()
    parse = markdown.parse_markdown if format == "markdown" else text.parse_text
    document = parse(decoded, doc_id=doc_id, path=path)
    if document.encode() != data:
        raise DocumentError(
            f"{path}: reading it as {document.encoding} and writing it back gives other bytes; a file must survive that; save it as UTF-8"
        )
    return document


def _read_bytes(url: str) -> bytes:
    # a local name may hold what fsspec reads as a pattern or a chain: a[1].md, a::b.md
    if "://" not in url:
        return Path(url).read_bytes()
    with fsspec.open(url, "rb") as file:
        data: bytes = file.read()
    return data


def _refuse_unread(data: bytes, suffix: str, path: str) -> None:
    if suffix in TABLE_SUFFIXES:
        raise DocumentError(f"{path}: a table, each row of which is a document; one document is asked for here; only a run reads tables")
    name = UNREAD_SUFFIXES.get(suffix) or next((name for magic, name in UNREAD_MAGIC if data.startswith(magic)), None)
    if name is not None:
        raise DocumentError(
            f"{path}: {name}, which is not read yet; inputs are Markdown or plain text; convert it, for example with pandoc"
        )
