"""Which characters of a paragraph's Markdown are not prose: code, destinations, markers.

Owns the watch over markdown-it's inline rules: each rule that matches tells where it matched. Positions count within the inline content;
`markdown.py` maps them to the document.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

InlineRule = Callable[[StateInline, bool], bool]

PLAIN_KINDS = {
    "autolink": "url",
    "html_inline": "html",
    "entity": "entity",
    "tex_math": "math",
    "footnote_ref": "markup",
}
"""Rules whose whole match is protected."""

_MAY_MATCH = re.compile(r"[\\`*_~<&$\[^]")
_BRACKET_MATH = re.compile(r"\\\((.{1,2000}?)\\\)|\\\[(.{1,2000}?)\\\]", re.DOTALL)
_DOLLAR_MATH = re.compile(r"\$\$(?:\\.|[^$\\]){1,4000}+\$\$|\$(?![\s$])(?:\\.|[^$\\]){1,4000}+(?<!\s)\$(?![\d$])", re.DOTALL)
_IS_MATH = re.compile(r"[\\^_={}+<>|]|^\s*\w{1,2}\s*$")


@dataclass(frozen=True, slots=True)
class Mark:
    """A match of one rule within the inline content."""

    start: int
    end: int
    kind: str


@dataclass(slots=True)
class _Watch:
    """What the rules have told so far about the content that is being parsed."""

    marks: list[Mark] = field(default_factory=list)
    delimiters: list[tuple[Token, int, int]] = field(default_factory=list)
    """Emphasis and strikethrough characters that may yet turn out to be text."""
    base: int = 0
    """Where the nested content starts in the whole content."""

    def add(self, start: int, end: int, kind: str) -> None:
        self.marks.append(Mark(self.base + start, self.base + end, kind))


class InlineWatch:
    """Parses inline content with the rules of `md` and returns what they matched."""

    def __init__(self, md: MarkdownIt) -> None:
        self._md = md
        self._watch = _Watch()
        md.inline.ruler.before("escape", "tex_math", _tex_math)
        # the rules by name are not listed in public; the ruler keeps them in this attribute
        for rule in list(md.inline.ruler.__rules__):
            md.inline.ruler.at(rule.name, self._watched(rule.name, rule.fn))
        md.inline.ruler2.before("fragments_join", "watch_delimiters", self._settle_delimiters)

    def find_marks(self, content: str, env: dict[str, object]) -> list[Mark]:
        """Marks in the order in which the rules matched; they may nest. `env` is the one the blocks were parsed with."""
        if _MAY_MATCH.search(content) is None:
            return []
        self._watch = _Watch()
        self._md.inline.parse(content, self._md, env, [])
        return self._watch.marks

    def _watched(self, name: str, rule: InlineRule) -> InlineRule:
        def run(state: StateInline, silent: bool) -> bool:
            if silent:
                return rule(state, True)
            start, num_tokens = state.pos, len(state.tokens)
            if not rule(state, False):
                return False
            self._note(name, state, start, num_tokens)
            return True

        def run_nested(state: StateInline, silent: bool) -> bool:
            if silent:
                return rule(state, True)
            watch, start = self._watch, state.pos
            outer = (watch.base, watch.delimiters)
            watch.base, watch.delimiters = watch.base + start + len("!["), []
            matched = rule(state, False)
            watch.base, watch.delimiters = outer
            if matched and name == "image":
                watch.add(start, state.pos, "link")
            elif matched:
                watch.add(start, start + 2, "markup")
                watch.add(state.pos - 1, state.pos, "markup")
            return matched

        return run_nested if name in ("image", "footnote_inline") else run

    def _note(self, name: str, state: StateInline, start: int, num_tokens: int) -> None:
        watch = self._watch
        if name in PLAIN_KINDS:
            watch.add(start, state.pos, PLAIN_KINDS[name])
        elif name == "backticks":
            if len(state.tokens) > num_tokens and state.tokens[-1].type == "code_inline":
                watch.add(start, state.pos, "code")
        elif name == "escape":
            token = state.tokens[-1]
            if token.type == "hardbreak":
                watch.add(start, start + 1, "markup")
            elif token.content != token.markup:
                watch.add(start, state.pos, "entity")
        elif name == "link":
            label_end = state.md.helpers.parseLinkLabel(state, start, True)
            tail = state.src[label_end : state.pos]
            if tail in ("]", "][]"):
                # the text is the name of the reference as well: another text would cut the link
                watch.add(start, state.pos, "link")
            else:
                watch.add(start, start + 1, "link")
                watch.add(label_end, state.pos, "link")
        elif name in ("emphasis", "strikethrough"):
            position = start
            for token in state.tokens[len(state.tokens) - _num_delimiters(state, start, num_tokens) :]:
                watch.delimiters.append((token, position, position + len(token.content)))
                position += len(token.content)

    def _settle_delimiters(self, state: StateInline) -> None:
        for token, start, end in self._watch.delimiters:
            if token.type != "text" or not token.content:
                self._watch.add(start, end, "markup")
        self._watch.delimiters.clear()


def _num_delimiters(state: StateInline, start: int, num_tokens: int) -> int:
    """Tokens that the run of markers made: pending text before it becomes a token of its own first."""
    num_chars, num = state.pos - start, 0
    while num_chars > 0 and len(state.tokens) - num > num_tokens:
        num += 1
        num_chars -= len(state.tokens[-num].content)
    return num


def _tex_math(state: StateInline, silent: bool) -> bool:
    r"""`\(…\)`, `\[…\]`, `$$…$$` and `$…$`.

    Dollars are math under Pandoc's rule, which leaves «$5 and $10» alone; brackets that only escape prose, such as `\[sic\]`, are left too.
    """
    if state.src[state.pos] == "$":
        match = _DOLLAR_MATH.match(state.src, state.pos, state.posMax)
    else:
        match = _BRACKET_MATH.match(state.src, state.pos, state.posMax)
        if match is not None and _IS_MATH.search(match.group(1) or match.group(2)) is None:
            return False
    if match is None:
        return False
    if not silent:
        state.push("math_inline", "math", 0)
    state.pos = match.end()
    return True
