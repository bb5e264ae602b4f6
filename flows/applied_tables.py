"""`flows apply` for the tables of a run: each is read again and copied, with the accepted findings in its texts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath

from chunkers.paths import AnyPath, is_url
from chunkers.readers import parse_document
from chunkers.readers.tables import LINE_SUFFIXES, TableColumns, is_table
from chunkers.records import Document, DocumentError
from chunkers.shards import read_shard
from chunkers.table_copy import copy_table
from flows.corpus import DocumentRow
from flows.runs import Run, RunError
from postprocess.assemble import apply_findings, invert_findings
from postprocess.records import Finding


def find_tables(run: Run) -> list[str]:
    """The tables among a run's inputs, where they lie: as they were named from the folder where it was run."""
    manifest = run.read_manifest()
    tables = [path for path in manifest["inputs"] if is_table(path)]
    return [path if is_url(path) else str(Path(manifest["cwd"], path)) for path in tables]


def check_target(table: str, target: AnyPath) -> None:
    """Raises RunError where the name of a copy does not say what it holds."""
    kinds = LINE_SUFFIXES if PurePosixPath(table).suffix.lower() in LINE_SUFFIXES else {".parquet"}
    if PurePosixPath(target.name).suffix.lower() not in kinds:
        raise RunError(
            f"{target}: the documents of {table} are its rows, and its copy is a table of the same kind; give a name that ends in "
            f"{' or '.join(sorted(kinds))} with -o, or a folder; to take single texts, ask `flows sql` for the findings."
        )


def apply_table(run: Run, table: str, target: AnyPath, chosen: Mapping[str, Sequence[Finding]], totals: Counter[str]) -> str:
    """Copy a table with the chosen findings, given by doc_id, in it; returns a line about it.

    Rows that could not be read stay as they are. Raises RunError where another text stands in the table than the run has read.
    """
    config = run.read_manifest()["config"]
    columns = TableColumns(text=config["text_column"], id=config["id_column"], format=config["text_format"])
    known = {bytes.fromhex(row.doc_id) for row in read_shard(str(run.folder / "documents.parquet"), DocumentRow)}
    seen: Counter[str] = Counter()

    def correct(text: str) -> str:
        digest = sha256(text.encode())
        if digest.digest() not in known:
            if _find_document(text, columns) is None:
                return text
            raise RunError(f"{table} has changed since {run.name} read it, and its findings are of the texts of then; run it again first.")
        found = digest.hexdigest()
        seen[found] += 1
        own = list(chosen.get(found, ()))
        if not own:
            return text
        document = _find_document(text, columns)
        if document is None or (changed := apply_findings(document.text, own)) == document.text:
            return text
        if apply_findings(changed, invert_findings(own)) != document.text:
            raise RunError(f"{table}: undoing the changes does not give a text back; nothing was written; please report this.")
        return document.bom + changed

    copy_table(table, target, columns, correct)
    num_applied = sum(number * len(chosen.get(doc_id, ())) for doc_id, number in seen.items())
    num_found = sum(number * totals[doc_id] for doc_id, number in seen.items())
    return f"{target}: {num_applied} of {num_found} findings applied in {seen.total():,} texts"


def _find_document(text: str, columns: TableColumns) -> Document | None:
    """None for a text that no run reads, such as one with NULs in it."""
    try:
        return parse_document(text.encode(), "row", format=columns.format)
    except DocumentError:
        return None
