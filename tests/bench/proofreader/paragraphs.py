"""Clean paragraphs out of a book of Project Gutenberg or a page of documentation: prose alone, without markup that is no text.

A list is kept as it is written, so that the model sees marks of lists; tables, code, directives and verse are left out.
"""

import random
import re

MIN_BOOK_CHARS, MIN_DOC_CHARS = 60, 40
"""Shorter paragraphs are headings and captions."""
MIN_LETTERS = 0.7
"""Of the characters of a book's paragraph."""
MIN_PROSE = 0.8
"""Of the characters of a page's paragraph that are letters and spaces."""
JOINED_SHARE = 0.7
"""Of the pages whose paragraphs are put on one line each."""
MIN_ENGLISH = 0.12
"""Share of the commonest English words from which a paragraph is taken for English."""
_COMMON = frozenset(["the", "and", "of", "to", "in", "a", "that", "was", "he", "it", "is", "his", "with", "as", "for"])
_GUTENBERG_START = re.compile(r"\*\*\* ?START OF TH.*?\*\*\*|\*END\*THE SMALL PRINT.*?\*END\*", re.DOTALL)
_GUTENBERG_END = re.compile(r"\*\*\* ?END OF TH|End of (the )?Project Gutenberg")
_ILLUSTRATION = re.compile(r"\[Illustration[^\]]*\]")
_BETWEEN = re.compile(r"\n[ \t]*\n")
_WORD = re.compile(r"[a-zà-ÿ]+")
_CODE_BLOCK = re.compile(r"^([ \t]*)(```|~~~).*?^\1?[ \t]*\2[ \t]*$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LIST_MARK = re.compile(r"\s*([-*+]|\d+\.)\s")
_NO_PROSE = ("..", ":", "=", "{", "<", "$", ">>>")
"""What a line of markup or of a session begins with."""
_BEFORE = r"(^|[\s(\[—“])"
"""What an opening quotation mark stands behind."""
_CUT_WORD = re.compile(rf"{_BEFORE}'(?=(tis|twas|em|til|twere|twill|cause|bout|gainst|neath|un)\b)", re.IGNORECASE)


def is_english(paragraph: str) -> bool:
    """Whether it reads like English; never for fewer than eight words."""
    words = _WORD.findall(paragraph.lower())
    return len(words) >= 8 and sum(word in _COMMON for word in words) / len(words) > MIN_ENGLISH


def list_book_paragraphs(text: str) -> list[str]:
    """The prose of a book, a paragraph a line, without what Project Gutenberg says around it."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")
    start, end = _GUTENBERG_START.search(text), _GUTENBERG_END.search(text)
    text = text[start.end() if start else 0 : end.start() if end else len(text)]
    blocks = (_list_lines(block) for block in _BETWEEN.split(_ILLUSTRATION.sub("", text)))
    paragraphs = (re.sub(" +", " ", " ".join(line.strip() for line in lines)) for lines in blocks if lines and not _is_verse(lines))
    return [paragraph for paragraph in paragraphs if _is_book_prose(paragraph)]


def _list_lines(block: str) -> list[str]:
    return [line for line in block.split("\n") if line.strip()]


def _is_verse(lines: list[str]) -> bool:
    """Lines that are indented, or several that are all short."""
    is_indented = sum(line.startswith("   ") for line in lines) > len(lines) / 2
    return is_indented or (len(lines) > 1 and max(map(len, lines)) < 55)


def _is_book_prose(paragraph: str) -> bool:
    if len(paragraph) < MIN_BOOK_CHARS or paragraph.isupper() or "Gutenberg" in paragraph or "www." in paragraph:
        return False
    return sum(character.isalpha() for character in paragraph) >= MIN_LETTERS * len(paragraph)


def set_marks(paragraph: str) -> str:
    """With the quotation marks, dashes and ellipses of a printed book for those of a typewriter."""
    if '"' not in paragraph and "'" not in paragraph and "--" not in paragraph:
        return paragraph
    paragraph = paragraph.replace("---", "—").replace("--", "—")
    paragraph = re.sub(f'{_BEFORE}"', r"\1“", paragraph).replace('"', "”")
    paragraph = _CUT_WORD.sub(r"\1’", paragraph)
    paragraph = re.sub(f"{_BEFORE}'", r"\1‘", paragraph).replace("'", "’")
    return paragraph.replace(". . .", "…").replace("...", "…")


def list_page_paragraphs(text: str, path: str) -> list[str]:
    """The prose and the lists of a page of Markdown or reST; whether on one line each is by chance of its path."""
    text = text.replace("\r\n", "\n")
    if text.startswith("---\n"):
        end = text.find("\n---\n", 4)
        text = text[end + 5 :] if end > 0 else text
    text = _COMMENT.sub("", _CODE_BLOCK.sub("", text))
    is_joined = random.Random(path).random() < JOINED_SHARE
    blocks = (_list_lines(block) for block in _BETWEEN.split(text))
    found = (_read_block(lines, is_joined=is_joined) for lines in blocks if lines and not _is_markup(lines))
    return [paragraph for paragraph in found if paragraph is not None]


def _is_markup(lines: list[str]) -> bool:
    is_code = all(line.startswith(("    ", "\t")) for line in lines)
    return is_code or any(line.strip().startswith(("|", *_NO_PROSE)) for line in lines)


def _read_block(lines: list[str], *, is_joined: bool) -> str | None:
    is_list = any(_LIST_MARK.match(line) for line in lines)
    block = " ".join(line.strip() for line in lines) if is_joined and not is_list else "\n".join(line.rstrip() for line in lines)
    num_prose = sum(character.isalpha() or character == " " for character in block)
    if len(block) < MIN_DOC_CHARS or num_prose < MIN_PROSE * len(block) or not (is_list or is_english(block)):
        return None
    return block
