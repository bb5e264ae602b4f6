"""Collects the texts that the model learns from, without what it is measured on, and counts their words.

    uv run python -m tests.bench.proofreader.texts --books FOLDER… --docs FOLDER… --held-out FOLDER… -o DATA

Books are texts of Project Gutenberg in a folder an author, documentation is Markdown or reST. A paragraph that has nine words in a row with
a Markdown, text or JSON Lines file of the held-out ones is dropped. DATA gets books.txt, docs.txt and vocabulary.json. The same files give
the same DATA.
"""

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.proofreader.paragraphs import is_english, list_book_paragraphs, list_page_paragraphs, set_marks
from tests.bench.proofreader.vocabulary import build_vocabulary
from tests.bench.proofreader.wordlists import read_lines

Document = list[str]
"""Its paragraphs."""

BOOKS_NAME, DOCS_NAME, VOCABULARY_NAME = "books.txt", "docs.txt", "vocabulary.json"
HELD_OUT_WORDS = 9
"""So many in a row are a quotation."""
MAX_BOOKS_CHARS, MAX_DOCS_CHARS = 150_000_000, 60_000_000
MAX_AUTHOR_CHARS, MAX_FOLDER_CHARS = 14_000_000, 9_000_000
"""Of one author, of one folder of documentation: no more is taken once there is as much."""
LONG_BOOK_CHARS, SLICE_CHARS = 1_000_000, 600_000
"""Of a longer book a slice is taken; of a shorter one half."""
TYPESET_SHARE = 0.8
"""Of the books that get the marks of print; the others keep those of a typewriter."""
EMPHASIS_SHARE = 0.3
"""Of the books in which `_emphasis_` becomes `*emphasis*`; from the others the marks are taken."""
MIN_BOOK_PARAGRAPHS, MIN_PAGE_PARAGRAPHS = 20, 3
PAGE_SUFFIXES = frozenset({".md", ".mdx", ".rst", ".mediawiki"})
WITHOUT = tuple(name for line in read_lines("without") for name in line)
"""Authors whose books are left out whole, as their folders begin."""
_DOCUMENT_END, _PARAGRAPH_END = "\x1e", "\n\n"
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a source."""

    path: Path
    name: str
    """From the folder that was given, with `/`."""


def list_files(sources: Iterable[Path], suffixes: Iterable[str]) -> Iterator[File]:
    """The files of folders, and those given themselves, with one of the suffixes; in order of their names. Raises SystemExit for none."""
    wanted = frozenset(suffixes)
    for source in sources:
        if source.is_file():
            found = [File(path=source, name=f"{source.parent.name}/{source.name}")]
        else:
            paths = (path for path in source.rglob("*") if path.suffix in wanted and path.is_file() and not path.is_symlink())
            found = [File(path=path, name=path.relative_to(source).as_posix()) for path in paths]
        if not found:
            raise SystemExit(f"{source} has no file that ends in {', '.join(sorted(wanted))}; give a folder that has some, or a file.")
        yield from sorted(found, key=lambda file: file.name)


def read_books(sources: Sequence[Path], without: tuple[str, ...]) -> list[Document]:
    """Books in English in a random order, each paragraph once in all of them."""
    chance = random.Random(5)
    files = [file for file in list_files(sources, [".txt"]) if not file.name.startswith(without)]
    chance.shuffle(files)
    seen: set[int] = set()
    taken: Counter[str] = Counter()
    books: list[Document] = []
    for file in files:
        author = file.name.partition("/")[0]
        if taken[author] > MAX_AUTHOR_CHARS:
            continue
        paragraphs = list_book_paragraphs(_decode(file.path.read_bytes()))
        if len(paragraphs) < MIN_BOOK_PARAGRAPHS or sum(map(is_english, paragraphs)) / len(paragraphs) < 0.5:
            continue
        kept = list(_drop_seen(paragraphs, seen))
        if len(kept) < MIN_BOOK_PARAGRAPHS:
            continue
        books.append(_set_book(kept, chance))
        taken[author] += count_chars(books[-1])
    return books


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _drop_seen(paragraphs: Iterable[str], seen: set[int]) -> Iterator[str]:
    for paragraph in paragraphs:
        key = hash(paragraph)
        if key not in seen:
            seen.add(key)
            yield paragraph


def _set_book(paragraphs: Document, chance: random.Random) -> Document:
    """With the marks of print, or of Markdown, by chance."""
    if chance.random() < TYPESET_SHARE:
        paragraphs = [set_marks(paragraph) for paragraph in paragraphs]
    emphasis = "*" if chance.random() < EMPHASIS_SHARE else ""
    return [paragraph.replace("_", emphasis) for paragraph in paragraphs]


def read_docs(sources: Sequence[Path]) -> list[Document]:
    """Pages of documentation, those of a folder in a random order, each paragraph once in all of them."""
    seen: set[int] = set()
    return [page for source in sources for page in _read_folder(source, seen)]


def _read_folder(source: Path, seen: set[int]) -> Iterator[Document]:
    files = list(list_files([source], PAGE_SUFFIXES))
    random.Random(3).shuffle(files)
    num_chars = 0
    for file in files:
        if num_chars > MAX_FOLDER_CHARS:
            break
        try:
            text = file.path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        page = list(_drop_seen(list_page_paragraphs(text, file.name), seen))
        if len(page) >= MIN_PAGE_PARAGRAPHS:
            num_chars += count_chars(page)
            yield page


def count_chars(document: Document) -> int:
    """With what stands between paragraphs."""
    return sum(map(len, document)) + len(_PARAGRAPH_END) * (len(document) - 1)


def take_slice(book: Document, chance: random.Random) -> Document:
    """Paragraphs in a row: of many books a part teaches more than all of a few."""
    if count_chars(book) > LONG_BOOK_CHARS:
        first = end = chance.randrange(len(book))
        num_chars = 0
        while end < len(book) and num_chars < SLICE_CHARS:
            num_chars += len(book[end])
            end += 1
        return book[first:end]
    if len(book) > 60:
        num_kept = max(30, len(book) // 2)
        first = chance.randrange(len(book) - num_kept + 1)
        return book[first : first + num_kept]
    return book


class HeldOut:
    """Texts that the model is measured on, as the runs of words in them."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._runs = {run for text in texts for run in _list_runs(text)}
        self.num_dropped = 0
        """Paragraphs that had one of the runs."""

    def drop_from(self, document: Document) -> Document:
        """The paragraphs that share no run."""
        kept = [paragraph for paragraph in document if self._runs.isdisjoint(_list_runs(paragraph))]
        self.num_dropped += len(document) - len(kept)
        return kept


def _list_runs(text: str) -> Iterator[int]:
    words = _WORD.findall(text.lower())
    return (hash(tuple(words[first : first + HELD_OUT_WORDS])) for first in range(len(words) - HELD_OUT_WORDS + 1))


def read_held_out(sources: Sequence[Path]) -> Iterator[str]:
    """Texts, and the strings in the objects of JSON Lines."""
    for file in list_files(sources, [".md", ".txt", ".jsonl"]):
        text = file.path.read_bytes().decode("utf-8", "replace")
        if file.path.suffix != ".jsonl":
            yield text
            continue
        for line in text.splitlines():
            yield from (value for value in json.loads(line).values() if isinstance(value, str))


def take_documents(
    documents: list[Document], held_out: HeldOut, chance: random.Random, *, max_chars: int, is_sliced: bool
) -> list[Document]:
    """Some of the documents in a random order, about `max_chars` in all."""
    chance.shuffle(documents)
    taken: list[Document] = []
    num_chars = 0
    for document in documents:
        if num_chars > max_chars:
            break
        if kept := held_out.drop_from(take_slice(document, chance) if is_sliced else document):
            taken.append(kept)
            num_chars += count_chars(kept)
    return taken


def write_documents(documents: Iterable[Document], path: Path) -> None:
    """As text: a record separator between documents, an empty line between paragraphs."""
    path.write_text(_DOCUMENT_END.join(_PARAGRAPH_END.join(document) for document in documents), encoding="utf-8", newline="")


def read_documents(path: Path) -> list[Document]:
    """What `write_documents` wrote."""
    return [document.split(_PARAGRAPH_END) for document in path.read_bytes().decode("utf-8").split(_DOCUMENT_END)]


def main() -> None:
    """Write DATA and say how much of it there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--books", type=Path, nargs="+", required=True, metavar="FOLDER", help="texts of Project Gutenberg, a folder an author"
    )
    parser.add_argument("--docs", type=Path, nargs="+", required=True, metavar="FOLDER", help="repositories with Markdown or reST")
    parser.add_argument("--held-out", type=Path, nargs="+", required=True, metavar="FOLDER", help="what the model is measured on")
    parser.add_argument("--without", nargs="*", default=WITHOUT, metavar="NAME", help="authors left out, as their folders begin")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DATA")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    held_out, chance = HeldOut(read_held_out(arguments.held_out)), random.Random(7)
    texts: list[str] = []
    for name, documents, max_chars in (
        (BOOKS_NAME, read_books(arguments.books, tuple(arguments.without)), MAX_BOOKS_CHARS),
        (DOCS_NAME, read_docs(arguments.docs), MAX_DOCS_CHARS),
    ):
        before = held_out.num_dropped
        taken = take_documents(documents, held_out, chance, max_chars=max_chars, is_sliced=name == BOOKS_NAME)
        write_documents(taken, arguments.out / name)
        num_chars, num_dropped = sum(map(count_chars, taken)), held_out.num_dropped - before
        print(f"{name}: {len(taken):,} documents, {num_chars:,} characters; {num_dropped:,} held-out paragraphs dropped")  # noqa: T201
        texts.extend(_PARAGRAPH_END.join(document) for document in taken)
    vocabulary = build_vocabulary(texts)
    vocabulary.write(arguments.out / VOCABULARY_NAME)
    print(f"{VOCABULARY_NAME}: {len(vocabulary.counts):,} words, {len(vocabulary.family):,} with a family")  # noqa: T201


if __name__ == "__main__":
    main()
