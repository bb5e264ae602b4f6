"""Markdown: which characters are prose, to the code point."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.footnote import footnote_plugin

from chunkers.readers import parse_document
from chunkers.records import BlockKind, Document


def read(text: str) -> Document:
    return parse_document(text.encode(), "a.md")


def marked(document: Document) -> str:
    """The text with each protected span as ⟦kind:text⟧."""
    parts, position = [], 0
    for span in document.protected:
        parts += [document.text[position : span.start], f"⟦{span.kind}:{document.text[span.start : span.end]}⟧"]
        position = span.end
    return "".join([*parts, document.text[position:]])


def joined(expected: str) -> str:
    """Marks of one kind that touch are one span."""
    while (shorter := re.sub(r"(⟦(\w+):[^⟧]*)⟧⟦\2:", r"\1", expected)) != expected:
        expected = shorter
    return expected


INLINE = [
    ("plain 'text' — only, 3 * 4", "plain 'text' — only, 3 * 4"),
    ("*a* __b__ snake_case a * b", "⟦markup:*⟧a⟦markup:*⟧ ⟦markup:__⟧b⟦markup:__⟧ snake_case a * b"),
    ("***a** b*", "⟦markup:***⟧a⟦markup:**⟧ b⟦markup:*⟧"),
    ("~~gone~~", "⟦markup:~~⟧gone⟦markup:~~⟧"),
    ("`code` and ``a ` b``, `open", "⟦code:`code`⟧ and ⟦code:``a ` b``⟧, `open"),
    ("[label *x*](/u 'ti tle').", "⟦link:[⟧label ⟦markup:*⟧x⟦markup:*⟧⟦link:](/u 'ti tle')⟧."),
    ("[a `]` b](<u v>)", "⟦link:[⟧a ⟦code:`]`⟧ b⟦link:](<u v>)⟧"),
    ("![alt *q* [x](y)](i.png \"t\")", "⟦link:![alt *q* [x](y)](i.png \"t\")⟧"),
    ("[![alt](i.png) more](/u)", "⟦link:[![alt](i.png)⟧ more⟦link:](/u)⟧"),
    ("[no link] (u)", "[no link] (u)"),
    ("<http://a.org> <me@b.org>", "⟦url:<http://a.org>⟧ ⟦url:<me@b.org>⟧"),
    ("see https://a.org/x_y_z, (http://b.org).", "see ⟦url:https://a.org/x_y_z⟧, (⟦url:http://b.org⟧)."),
    ("<b class='x'>bold</b> 1 < 2", "⟦html:<b class='x'>⟧bold⟦html:</b>⟧ 1 < 2"),
    ("AT&amp;T &#65; &nope; \\* \\q", "AT⟦entity:&amp;⟧T ⟦entity:&#65;⟧ &nope; ⟦entity:\\*⟧ \\q"),
    ("$x^2$ costs $5 and $10", "⟦math:$x^2$⟧ costs $5 and $10"),
    ("a $$y$$ b 3$\\times$4", "a ⟦math:$$y$$⟧ b 3$\\times$4"),
    ("US$5, US$6, $ x $", "US$5, US$6, $ x $"),
    ("\\(x_1\\) and \\[y = 2\\], \\[sic\\]", "⟦math:\\(x_1\\)⟧ and ⟦math:\\[y = 2\\]⟧, ⟦entity:\\[⟧sic⟦entity:\\]⟧"),
    ("note^[an *inner* one] on", "note⟦markup:^[⟧an ⟦markup:*⟧inner⟦markup:*⟧ one⟦markup:]⟧ on"),
    ("a [^1] b", "a ⟦markup:[^1]⟧ b"),
    ("line  \nhard\\\nbreak", "line⟦markup:  ⟧\nhard⟦markup:\\⟧\nbreak"),
    ("{{#include a.rs}} {% raw %} {{< ref \"_a_\" >}}", "⟦markup:{{#include a.rs}}⟧ ⟦markup:{% raw %}⟧ ⟦markup:{{< ref \"_a_\" >}}⟧"),
    (":cite:`a` and [@b]", "⟦markup::cite:⟧⟦code:`a`⟧ and ⟦markup:[@b]⟧"),
    ("a {#id .c} b {: .c} {# c} {x}", "a ⟦markup:{#id .c}⟧ b ⟦markup:{: .c}⟧ {# c} {x}"),
    ("\\begin{x}a & b\\end{x} after", "⟦math:\\begin{x}a & b\\end{x}⟧ after"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), INLINE)
def test_inline_marks(source: str, expected: str) -> None:
    assert marked(read(source)) == expected


@pytest.mark.parametrize(("source", "expected"), INLINE)
def test_inline_marks_in_a_quoted_list_with_crlf(source: str, expected: str) -> None:
    prefix, following = "> - ", "\r\n>   "
    document = read(f"é\r\n\r\n{prefix}{source.replace(chr(10), following)}\r\n")
    wanted = expected.replace("\n", "\r\n⟦markup:>   ⟧")
    assert marked(document) == joined(f"é\r\n\r\n⟦markup:> - ⟧{wanted}\r\n")


BLOCKS = [
    ("# One *two* #\n", "⟦markup:# ⟧One ⟦markup:*⟧two⟦markup:*⟧⟦markup: #⟧\n", ["heading"]),
    ("  ## [a](b)\ntext\n", "⟦markup:  ## ⟧⟦link:[⟧a⟦link:](b)⟧\ntext\n", ["heading", "paragraph"]),
    ("One\ntwo\n===\n", "One\ntwo\n⟦markup:===⟧\n", ["heading"]),
    ("a\n\n***\n\nb\n", "a\n\n⟦markup:***⟧\n\nb\n", ["paragraph", "paragraph"]),
    ("> a\nlazy\n> > b\n", "⟦markup:> ⟧a\nlazy\n⟦markup:> > ⟧b\n", ["quote", "quote"]),
    ("1. a\n   b\n2) c\n\n   d\n", "⟦markup:1. ⟧a\n⟦markup:   ⟧b\n⟦markup:2) ⟧c\n\n⟦markup:   ⟧d\n", ["list", "list", "list"]),
    ("- a\n\n  ```\n  x\n  ```\n- b\n", "⟦markup:- ⟧a\n\n⟦code:  ```\n  x\n  ```⟧\n⟦markup:- ⟧b\n", ["list", "code", "list"]),
    ("\ta *b*\n", "⟦code:\ta *b*⟧\n", ["code"]),
    ("~~~py\n*a*\n\n~~~\n\nb\n", "⟦code:~~~py\n*a*\n\n~~~⟧\n\nb\n", ["code", "paragraph"]),
    ("<div>\n*a*\n</div>\n\nb\n", "⟦html:<div>\n*a*\n</div>⟧\n\nb\n", ["html", "paragraph"]),
    ("<!-- a\n\nb -->\n", "⟦html:<!-- a\n\nb -->⟧\n", ["html"]),
    ("$$\nx\n$$\n\nb\n", "⟦math:$$\nx\n$$⟧\n\nb\n", ["math", "paragraph"]),
    (
        "| a | b \\| c |\n|---|:-:|\n| `x` | |\n| a b | a |\n",
        "⟦markup:| ⟧a⟦markup: | ⟧b ⟦markup:\\|⟧ c⟦markup: |⟧\n⟦markup:|---|:-:|⟧\n⟦markup:| ⟧⟦code:`x`⟧⟦markup: | |⟧\n"
        "⟦markup:| ⟧a b⟦markup: | ⟧a⟦markup: |⟧\n",
        ["table"],
    ),
    (
        "[a][r] [r] [R][] [x]\n\n[r]: /u\n  'T'\n",
        "⟦link:[⟧a⟦link:][r]⟧ ⟦link:[r]⟧ ⟦link:[R][]⟧ [x]\n\n⟦link:[r]: /u⟧\n  ⟦markup:'T'⟧\n",
        ["paragraph"],
    ),
    (
        "a[^n]\n\n[^n]: Note *b*\n    more\n",
        "a⟦markup:[^n]⟧\n\n⟦markup:[^n]: ⟧Note ⟦markup:*⟧b⟦markup:*⟧\n⟦markup:    ⟧more\n",
        ["paragraph", "footnote"],
    ),
    ("---\ntitle: x\n---\n\n# Y\n", "⟦front_matter:---\ntitle: x\n---⟧\n\n⟦markup:# ⟧Y\n", ["front_matter", "heading"]),
    ("+++\ntitle = 'x'\n+++\nY\n", "⟦front_matter:+++\ntitle = 'x'\n+++⟧\nY\n", ["front_matter", "paragraph"]),
    ("---\n\nNot *front* matter\n\n---\n", "⟦markup:---⟧\n\nNot ⟦markup:*⟧front⟦markup:*⟧ matter\n\n⟦markup:---⟧\n", ["paragraph"]),
    ("::: {.note}\nInside.\n:::\n", "⟦markup:::: {.note}⟧\nInside.\n⟦markup::::⟧\n", ["paragraph"]),
]


@pytest.mark.parametrize(("source", "expected", "kinds"), BLOCKS)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_blocks_and_their_marks(source: str, expected: str, kinds: list[str], newline: str) -> None:
    document = read(source.replace("\n", newline))
    assert marked(document) == joined(expected).replace("\n", newline)
    assert [str(block.kind) for block in document.blocks] == kinds


def test_title_and_language() -> None:
    assert (read("# A *b*\n").title, read("text").title) == ("A *b*", None)
    document = read('---\ntitle: "The Book"\nlang: en-GB\n---\n# One\n')
    assert (document.title, document.language) == ("The Book", "en")
    languages = ["de_AT", "English", "C++", "Klingon"]
    assert [read(f"---\nlanguage: {name}\n---\n").language for name in languages] == ["de", "en", None, None]


def test_heading_levels() -> None:
    assert [block.level for block in read("# a\n\n### b\n\nc\n\nd\n---\n").blocks] == [1, 3, 0, 2]


def visible_text(source: str) -> str:
    """What markdown-it itself would show of the prose, without white space: code, images, entities, escapes and pipes left out."""
    md = MarkdownIt("commonmark", {"maxNesting": 40}).enable(["table", "strikethrough"]).disable(["text_join"])
    md.use(footnote_plugin, move_to_end=False)

    def walk(tokens: list[Token]) -> str:
        return "".join(
            walk(token.children or []) if token.type == "inline" else token.content
            for token in tokens
            if token.type in ("inline", "text") or (token.type == "text_special" and token.content == token.markup)
        )

    return "".join(walk(md.parse(source)).replace("|", "").split())


MARKDOWN = st.lists(
    st.sampled_from(
        ["word", "Two words.", " ", "  ", "\n", "\n\n", "\n    ", "\t", "> ", "- ", "1. ", "# ", " #", "*", "**", "_", "~~", "`", "``",
         "[", "](/u)", "](/u 't')", "![", "&amp;", "\\*", "\\", "<b>", "<", ">", "|", "\n|-|-|\n", "a | b", "\n---\n", "\n===\n",
         "\n```\n", "é", "🙂\u200d", "\u00a0", "\u2028", "\x0c", "!"]
    ),
    max_size=30,
).map("".join)  # fmt: skip


@given(MARKDOWN)
def test_what_is_not_protected_is_what_a_reader_sees(source: str) -> None:
    document = read(source)
    position, exposed = 0, []
    for span in document.protected:
        exposed.append(document.text[position : span.start])
        position = span.end
    exposed.append(document.text[position:])
    unmapped = [note for note in document.notes if "could not be mapped" in note]
    assert unmapped or "".join("".join(exposed).replace("|", "").split()) == visible_text(source)


def test_every_block_of_ordinary_markdown_is_mapped() -> None:
    source = "\n".join(source for source, _, _ in BLOCKS if not source.startswith(("---\ntitle", "+++"))) + "\n\n".join(
        text for text, _ in INLINE
    )
    assert read(source).notes == ()


@pytest.mark.parametrize(
    "source",
    [">" * 3000 + " a", "- " * 3000 + "a", "[" * 3000 + "a" + "]" * 3000, "![" * 3000, "^[" * 3000, "*a **b " * 3000, "\\(" * 3000,
     "{{" * 9000, "http://a&b;" * 3000, "a@" * 9000, "```\n" * 3000, "\r" * 9000, "a|b\n-|-\n" + "a|b\n" * 3000, "\\begin{a}" * 3000],
)  # fmt: skip
def test_hostile_markdown_is_read(source: str) -> None:
    document = read(source)
    assert "".join(document.text[block.start : block.end] for block in document.blocks) == source


def test_what_is_nested_too_deeply_is_protected_and_noted() -> None:
    document = read("Fine.\n\n" + "> " * 60 + "deep\n")
    assert document.notes == ("containers nested more than 40 deep are protected whole",)
    assert marked(document).startswith("Fine.\n\n⟦markup:> ")
    assert marked(document).endswith("deep⟧\n")


def test_an_endless_paragraph_is_protected_and_noted() -> None:
    document = read("word *word* " * 20_000)
    assert [(span.start, span.end) for span in document.protected] == [(0, len(document.text.rstrip()))]
    assert "longer than" in document.notes[0]
    assert document.blocks[0].kind is BlockKind.PARAGRAPH
