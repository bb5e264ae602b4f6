"""Edits of all proposers on one document become findings.

Owns votes and what they weigh, conflicts, and the place of a finding for a reader. Takes edits as guards.py left them.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from chunkers.records import Document
from postprocess.places import Places
from postprocess.records import Edit, EditStatus, Finding, FindingStatus, is_voter, name_finding

MIN_ACCEPT = 0.8
MIN_SUGGEST = 0.2


class CollateError(ValueError):
    """Edits that cannot be collated on this document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voter:
    """A model that looked for mistakes itself, in one document."""

    proposer: str
    origin: str
    """What it is made of: voters of one origin are one witness, however they are asked."""
    answered: tuple[tuple[int, int], ...]
    """Spans about which it gave an answer that counts, sorted; none overlap."""


def collate_edits(
    edits: Iterable[Edit],
    document: Document,
    *,
    min_accept: float = MIN_ACCEPT,
    min_suggest: float = MIN_SUGGEST,
    voters: Sequence[Voter] = (),
) -> list[Finding]:
    """One finding for each span and replacement among the anchored edits, sorted by start, end, replacement, each id once.

    Confidence is what `weigh_votes` says. A finding below `min_suggest` is left out, its edits stay in their table. Of findings that
    overlap (an insertion overlaps what it touches) the surest keeps its status, the others become conflicts. Rejected edits are passed
    over. A voter that answered about the passage and is no proposer is silent there, or a dissenter where an edit of it overlaps.
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
    origins = {voter.proposer: voter.origin for voter in voters}
    ballots = [_Ballot(voter, groups) for voter in sorted(voters, key=lambda voter: voter.proposer)]
    findings = []
    for span, group in sorted(groups.items()):
        confidence = weigh_votes(group, origins)
        if confidence >= min_suggest:
            status = FindingStatus.ACCEPTED if confidence >= min_accept else FindingStatus.SUGGESTED
            findings.append(_make_finding(span, group, confidence, status, places, ballots))
    return [finding for cluster in _cluster_findings(findings) for finding in _settle_conflicts(cluster)]


def weigh_votes(group: Iterable[Edit], origins: Mapping[str, str] | None = None) -> float:
    """The confidence of a finding from its edits, 0 to 1.

    Calibrated edits, of rules and of models that score, give the highest of theirs, never more: a model that scores what a rule found
    is no second witness. Each model that looked for mistakes itself (`is_voter`) is one, and its confidence that of one such edit: all
    are wrong together as often as each is wrong, multiplied: two models at 0.5 give 0.75, three 0.88, one beside a rule at 0.3 gives
    0.65. Models of one origin are one witness. Silence takes nothing away: a model overlooks more than it marks.
    """
    witnesses: dict[str, float] = {}
    for edit in group:
        # no origin is empty: that is the name of all calibrated edits together
        name = (origins or {}).get(edit.proposer, edit.proposer) if is_voter(edit.proposer) else ""
        witnesses[name] = max(witnesses.get(name, 0.0), edit.confidence)
    if len(witnesses) == 1:
        return next(iter(witnesses.values()))
    return round(1.0 - math.prod(1.0 - confidence for confidence in sorted(witnesses.values())), 4)


class _Ballot:
    """What one voter says about places: answers in logarithmic time, however many edits it made."""

    def __init__(self, voter: Voter, groups: Mapping[tuple[int, int, str], list[Edit]]) -> None:
        self.proposer = voter.proposer
        self._answered = voter.answered
        own = sorted((start, end) for (start, end, _), group in groups.items() if any(edit.proposer == voter.proposer for edit in group))
        self._points = [start for start, end in own if start == end]
        spans = [(start, end) for start, end in own if start < end]
        self._starts = [start for start, _ in spans]
        self._reaches = list(accumulate((end for _, end in spans), max))
        """The furthest end of the spans up to each."""

    def was_asked(self, start: int, end: int) -> bool:
        """Whether an answer that counts is about the place."""
        index = bisect_right(self._answered, (start, math.inf)) - 1
        return index >= 0 and self._answered[index][0] <= start and end <= self._answered[index][1]

    def changes(self, start: int, end: int) -> bool:
        """Whether one of its edits overlaps the place, as `has_overlap` says."""
        if self._points[(at := bisect_left(self._points, start)) : at + 1] and self._points[at] <= end:
            return True
        before = bisect_right(self._starts, end) if start == end else bisect_left(self._starts, end)
        reach = self._reaches[before - 1] if before else -1
        return reach >= start if start == end else reach > start


def _check_place(edit: Edit, document: Document) -> tuple[int, int, str]:
    if edit.start is None or edit.end is None or document.text[edit.start : edit.end] != edit.original:
        raise CollateError(
            f"edit {edit.edit_id[:8]} says that {edit.original!r} stands at {edit.start}:{edit.end} of {document.path}, where it does "
            "not; an anchored edit quotes its span exactly; run guard_edits before collating."
        )
    return edit.start, edit.end, edit.replacement


def _make_finding(
    span: tuple[int, int, str],
    group: list[Edit],
    confidence: float,
    status: FindingStatus,
    places: Places,
    ballots: Sequence[_Ballot],
) -> Finding:
    start, end, replacement = span
    surest = min(group, key=lambda edit: (-edit.confidence, edit.proposer, edit.category, edit.message))
    proposers = tuple(sorted({edit.proposer for edit in group}))
    others = [ballot for ballot in ballots if ballot.proposer not in proposers and ballot.was_asked(start, end)]
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
        confidence=confidence,
        status=status,
        context_before=places.cut_before(start),
        context_after=places.cut_after(start, end),
        silent=tuple(ballot.proposer for ballot in others if not ballot.changes(start, end)),
        dissenters=tuple(ballot.proposer for ballot in others if ballot.changes(start, end)),
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
