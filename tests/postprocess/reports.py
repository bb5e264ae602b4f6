"""Reports for tests: a small one that looks real, a hostile one, and one with thousands of findings."""

from dataclasses import replace

from chunkers.records import Category, Document
from postprocess.changes import trim_edit
from postprocess.collate import collate_edits
from postprocess.exports.report import ReportData, ReportDocument, SummaryLine, TimeSpent, TruthItem
from postprocess.yields import Yield
from tests.postprocess.rows import make_document, make_edit

BOOK = """# The Mill

## One

He go home by the road, and and the the miller seen him pass. “Good evening,” says the miller

## Two

Their is a light in the window; it’s beam fall on the water.
"""

CHANGES = [
    ("go home", "goes home", Category.AGREEMENT, 0.93),
    ("and and", "and", Category.EXTRA, 0.97),
    ("the the", "the", Category.EXTRA, 0.91),
    ("seen him", "saw him", Category.AGREEMENT, 0.72),
    ("says the miller", "says the miller.", Category.PUNCT, 0.55),
    ("says the miller", "said the miller", Category.AGREEMENT, 0.22),
    ("Their is", "There is", Category.WORD, 0.88),
    ("it’s beam", "its beam", Category.WORD, 0.81),
    ("beam fall", "beam falls", Category.AGREEMENT, 0.64),
]

HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>alert(2)</script>",
    "\u202eright to left\u202c שלום",
    "🖋️👩‍👧 e\u0301",
    "\u2028\u2029\x00&lt;&amp;'\"`${alert(3)}$title",
    "\ud800",
]


def make_book(name: str = "mill.md", text: str = BOOK) -> tuple[Document, ReportData]:
    document = make_document(text, name=name)
    edits = []
    for old, new, category, confidence in CHANGES:
        change = trim_edit(old, new, text.index(old))
        edits.append(
            make_edit(document, change.start, change.end, change.replacement, category=category, confidence=confidence, proposer="m/edits")
        )
    report = ReportData(
        title="The Mill",
        run="proofread-mill-0a1b2c3d",
        flow="proofread",
        model="qwen3-8b + rules",
        documents=(describe(document),),
        findings=tuple(collate_edits(edits, document)),
        min_accept=0.8,
        summary=(SummaryLine(label="tokens a second", value="412"),),
        truth=(
            TruthItem(doc_id=document.doc_id, line=5, original="go", replacement="goes", category=Category.AGREEMENT, is_found=True),
            TruthItem(doc_id=document.doc_id, line=9, original="beam", replacement="gleam", category=Category.WORD, is_found=False),
        ),
    )
    return document, report


def make_disputed() -> ReportData:
    """The book as three models see it: of two that propose one brings nothing, and they differ over a place."""
    _, report = make_book()
    findings = list(report.findings)
    findings[0] = replace(findings[0], silent=("c/edits",), dissenters=("b/rewrite",))
    findings[1] = replace(findings[1], proposers=("harper",), silent=("c/edits",))
    empty = {"accepted_right": None, "accepted_false": None, "suggested_right": None, "suggested_false": None}
    counts = {"num_edits": 3, "num_rejected": 1, "num_findings": 2, "num_accepted": 1}
    yields = (
        Yield(proposer="c/edits", **counts, alone_accepted=0, alone_suggested=0, **empty, engine_seconds=7.0),
        Yield(proposer="m/edits", **counts, alone_accepted=2, alone_suggested=0, **empty, engine_seconds=1212.4),
        Yield(proposer="harper", **counts, alone_accepted=1, alone_suggested=1, **empty, engine_seconds=None),
    )
    times = (TimeSpent(what="reading", seconds=0.4), TimeSpent(what="engine work: m", seconds=1212.4))
    return replace(report, findings=tuple(findings), yields=yields, times=times)


def make_hostile() -> ReportData:
    document, report = make_book()
    finding = report.findings[0]
    findings = tuple(
        replace(
            finding,
            finding_id=f"{index:064x}",
            start=index,
            end=index + 1,
            original=text,
            replacement=text + "!",
            message=text,
            chapter=text,
            proposers=(text,),
            silent=(text,),
            dissenters=(text,),
            context_before=text,
            context_after=text,
        )
        for index, text in enumerate(HOSTILE)
    )
    everything = " ".join(HOSTILE)
    hostile_document = replace(describe(document), name=everything, title=everything, notes=(everything,))
    second = replace(hostile_document, doc_id="0" * 64)
    line = SummaryLine(label=everything, value=everything)
    return replace(
        report, title=everything, run=everything, model=everything, flow=everything, documents=(hostile_document, second),
        findings=findings, summary=(line,), times=(TimeSpent(what=everything, seconds=1.0),),
        yields=tuple(replace(row, proposer=everything) for row in make_disputed().yields),
    )  # fmt: skip


def make_large(num_findings: int) -> ReportData:
    text = "# Long\n\n" + "He go home along the long road that leads past the mill. " * num_findings
    document = make_document(text, name="long.md")
    step = len("He go home along the long road that leads past the mill. ")
    edits = [
        make_edit(document, start, start + 2, "goes", confidence=0.21 + 0.78 * (start % 97) / 97)
        for start in range(text.index("go"), len(text), step)
    ]
    _, report = make_book()
    return replace(report, documents=(describe(document),), findings=tuple(collate_edits(edits, document)), truth=None)


def describe(document: Document) -> ReportDocument:
    return ReportDocument(
        doc_id=document.doc_id, name=document.path, title=document.title, num_words=document.num_words, num_chars=len(document.text)
    )
