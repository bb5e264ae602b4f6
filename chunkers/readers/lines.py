"""Newlines as Markdown counts them, and the way back: every line end becomes one \\n, offsets map to the source."""

from bisect import bisect_left


class Lines:
    """The text with every \\r\\n and lone \\r as \\n, its line starts, and offsets back into the source."""

    __slots__ = ("_crlf", "starts", "text")

    def __init__(self, source: str) -> None:
        self._crlf: list[int] = []
        """Offsets, in `text`, of the newlines that are two characters in the source; sorted."""
        self.text = source
        if "\r" in source:
            position = source.find("\r\n")
            while position >= 0:
                self._crlf.append(position - len(self._crlf))
                position = source.find("\r\n", position + 2)
            self.text = source.replace("\r\n", "\n").replace("\r", "\n")
        self.starts = [0]
        """Offset, in `text`, of each line's first character."""
        position = self.text.find("\n") + 1
        while position > 0:
            self.starts.append(position)
            position = self.text.find("\n", position) + 1

    def start_of(self, line: int) -> int:
        """Offset in `text` of a line, or the length of the text past the last line."""
        return self.starts[line] if line < len(self.starts) else len(self.text)

    def content_of(self, line: int) -> str:
        """A line without its newline."""
        return self.text[self.start_of(line) : self.start_of(line + 1)].removesuffix("\n")

    def to_source(self, offset: int) -> int:
        """Source offset of an offset in `text`."""
        return offset + bisect_left(self._crlf, offset)
