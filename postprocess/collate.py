"""Edits of all proposers on one document become findings.

Owns votes, confidence, conflicts and the place of a finding for a reader. Takes edits as guards.py left them.
"""

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from chunkers.records import Document
from postprocess.places import Places
from postprocess.records import Edit, EditStatus, Finding, FindingStatus, name_finding

MIN_ACCEPT = 0.8
MIN_SUGGEST = 0.2


class CollateError(ValueError):
    """Edits that cannot be collated on this document."""


def collate_edits(
    edits: Iterable[Edit], document: Document, *, min_accept: float = MIN_ACCEPT, min_suggest: float = MIN_SUGGEST
) -> list[Finding]:
    """One finding for each span and replacement among the anchored edits, sorted by start, end, replacement, each id once.

    Confidence is the highest of its edits, never more: a model that scores what a rule found is no second witness. A finding whose
    best edit is below `min_suggest` is left out, its edits stay in their table. Of findings that overlap (an insertion overlaps what
    it touches) the surest keeps its status, the others become conflicts. Rejected edits are passed over.
    Raises CollateError for an edit of another document, or an anchored one that does not stand at its offsets.
    """
    groups: defaultdict[tuple[int, int, str], list[Edit]] = defaultdict(list)
    for edit in edits:
        if edit.doc_id != document.doc_id:
            raise CollateError(
                f"edit {edit.edit_id[:8]} is of document {edit.doc_id[:8]}, not of {document.path}; "
                "edits are collated document by document; group them by doc_id first."
            )
        if edit.status is EditStatus.ANCHORED:
            groups[_check_place(edit, document)].append(edit)
    places = Places(document)
    findings = []
    for span, group in sorted(groups.items()):
        surest = min(group, key=lambda edit: (-edit.confidence, edit.proposer, edit.category, edit.message))
        if surest.confidence >= min_suggest:
            status = FindingStatus.ACCEPTED if surest.confidence >= min_accept else FindingStatus.SUGGESTED
            findings.append(_make_finding(span, group, surest, status, places))
    return [finding for cluster in _cluster_findings(findings) for finding in _settle_conflicts(cluster)]


def _check_place(edit: Edit, document: Document) -> tuple[int, int, str]:
    if edit.start is None or edit.end is None or document.text[edit.start : edit.end] != edit.original:
        raise CollateError(
            f"edit {edit.edit_id[:8]} says that {edit.original!r} stands at {edit.start}:{edit.end} of {document.path}, where it does "
            "not; an anchored edit quotes its span exactly; run guard_edits before collating."
        )
    return edit.start, edit.end, edit.replacement


def _make_finding(span: tuple[int, int, str], group: list[Edit], surest: Edit, status: FindingStatus, places: Places) -> Finding:
    start, end, replacement = span
    proposers = tuple(sorted({edit.proposer for edit in group}))
    line, column = places.find_line(start)
    return Finding(
        finding_id=name_finding(surest.doc_id, start, end, replacement),
        doc_id=surest.doc_id,
        start=start,
        end=end,
        line=line,
        column=column,
        chapter=places.find_chapter(start),
        original=surest.original,
        replacement=replacement,
        category=surest.category,
        message=surest.message,
        votes=len(proposers),
        proposers=proposers,
        confidence=surest.confidence,
        status=status,
        context_before=places.cut_before(start),
        context_after=places.cut_after(start, end),
    )


def _cluster_findings(findings: list[Finding]) -> Iterator[list[Finding]]:
    """Runs of findings in which each touches one before it, so that conflicts stay within a cluster."""
    cluster: list[Finding] = []
    reach = -1
    for finding in findings:
        if cluster and finding.start > reach:
            yield cluster
            cluster = []
        cluster.append(finding)
        reach = max(reach, finding.end)
    if cluster:
        yield cluster


def _settle_conflicts(cluster: list[Finding]) -> list[Finding]:
    kept: list[tuple[int, int]] = []
    settled = []
    for finding in sorted(cluster, key=lambda f: (-f.confidence, -f.votes, f.start, f.end, f.replacement)):
        span = (finding.start, finding.end)
        index = bisect_right(kept, span)
        if any(has_overlap(span, other) for other in kept[max(0, index - 1) : index + 1]):
            finding = replace(finding, status=FindingStatus.CONFLICT)
        else:
            insort(kept, span)
        settled.append(finding)
    return sorted(settled, key=lambda f: (f.start, f.end, f.replacement))


def has_overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two spans cannot both be replaced. An insertion overlaps what it touches: both could bring the same comma."""
    if one[0] == one[1] or other[0] == other[1]:
        return one[0] <= other[1] and other[0] <= one[1]
    return one[0] < other[1] and other[0] < one[1]
