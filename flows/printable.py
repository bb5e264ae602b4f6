"""Text for a terminal: the control characters of a document, its name or a model's answer must not reach it."""


def printable(text: str) -> str:
    """The text with a question mark for each control character but line ends."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def flatten(text: str) -> str:
    """The text on one line, with a space for each control character."""
    return "".join(char if char.isprintable() else " " for char in text)
