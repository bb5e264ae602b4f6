"""Bytes of a text file to code points and back, without loss.

Owns the choice of the encoding. A UTF-8 file with a few stray bytes is read with the codec `utf8-stray`, registered here, which keeps each
stray byte as one private-use code point, so that the text is Unicode and still encodes to the source bytes.
"""

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charset_normalizer import from_bytes

from chunkers.records import DocumentError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STRAY_CODEC = "utf8-stray"
STRAY_FIRST = 0x10FF00
"""Code point of stray byte 0; the last block of the last private-use plane, which fonts and texts leave alone."""
STRAYS = re.compile(f"[{chr(STRAY_FIRST + 0x80)}-{chr(STRAY_FIRST + 0xFF)}]+")

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""UTF-32 before UTF-16: the little-endian mark of the one starts with the mark of the other."""
_HIGH_BYTES = bytes(range(0x80, 0x100))
_CONTROL_BYTES = bytes(byte for byte in range(0x20) if byte not in b"\t\n\v\f\r\x1a\x1b")
_SAMPLE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The text of a file and how to get its bytes back: `(bom + text).encode(encoding)`."""

    text: str
    encoding: str
    bom: str
    """U+FEFF or empty."""
    notes: tuple[str, ...]
    """What was assumed, for the user."""


def decode_bytes(data: bytes, path: str) -> Decoded:
    """Decodes by byte order mark, else as UTF-8, else as UTF-8 with stray bytes, else as a legacy encoding with a note.

    The text has no lone surrogates and no NUL. Raises DocumentError for NULs, for binary data and for broken UTF-16 or UTF-32.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            decoded = _decode_marked(data, mark, encoding, path)
            break
    else:
        _refuse_nul(data.find(b"\0"), path)
        decoded = _decode_unmarked(data, path)
    _refuse_nul(decoded.text.find("\0"), path)
    return decoded


def _refuse_nul(offset: int, path: str) -> None:
    if offset >= 0:
        raise DocumentError(
            f"{path}: NUL at offset {offset}; text files have none (binary data, or UTF-16 without a byte order mark); "
            "save the file as UTF-8 text, or remove the NULs if they are damage"
        )


def _decode_marked(data: bytes, mark: bytes, encoding: str, path: str) -> Decoded:
    try:
        return Decoded(text=data[len(mark) :].decode(encoding), encoding=encoding, bom="\ufeff", notes=())
    except UnicodeDecodeError as error:
        if encoding == "utf-8":
            return _decode_stray(data[len(mark) :], bom="\ufeff")
        raise DocumentError(
            f"{path}: the byte order mark says {encoding}, but byte {error.start + len(mark)} is not ({error.reason}); "
            "a file must be valid in its own encoding; save it again as UTF-8"
        ) from error


def _decode_unmarked(data: bytes, path: str) -> Decoded:
    try:
        return Decoded(text=data.decode("utf-8"), encoding="utf-8", bom="", notes=())
    except UnicodeDecodeError:
        pass
    num_control = len(data) - len(data.translate(None, _CONTROL_BYTES))
    if num_control * 20 > len(data):
        raise DocumentError(
            f"{path}: not UTF-8, and {num_control} of {len(data)} bytes are control codes; only text can be read; "
            "convert the file to UTF-8 text or Markdown"
        )
    num_valid, num_stray = _count_multibyte(data)
    if num_valid > num_stray:
        return _decode_stray(data, bom="")
    for encoding in (_guess_legacy(data), "cp1252", "latin-1"):
        if encoding is not None and (text := _decode_exactly(data, encoding)) is not None:
            return Decoded(text=text, encoding=encoding, bom="", notes=(f"not valid UTF-8; read as {_name_encoding(encoding)}",))
    raise DocumentError(f"{path}: encoding not recognised; files are read as UTF-8, UTF-16, UTF-32 or legacy 8-bit; save it as UTF-8")


def _count_multibyte(data: bytes) -> tuple[int, int]:
    """Numbers of valid multi-byte UTF-8 characters and of high bytes outside them."""
    high = b" ".join(re.findall(rb"[\x80-\xff]+", data))
    valid = high.decode("utf-8", "ignore").replace(" ", "")
    num_high = len(high.translate(None, b" "))
    return len(valid), num_high - len(valid.encode("utf-8"))


def _decode_stray(data: bytes, bom: str) -> Decoded:
    text = data.decode(STRAY_CODEC)
    num_strays = sum(len(run) for run in STRAYS.findall(text))
    first = STRAYS.search(text)
    line = text.count("\n", 0, first.start()) + 1 if first else 1
    note = f"{num_strays} bytes are not valid UTF-8 (first on line {line}); they are kept as they are and protected from edits"
    return Decoded(text=text, encoding=STRAY_CODEC, bom=bom, notes=(note,))


def _guess_legacy(data: bytes) -> str | None:
    """A codec name for text that is mostly not Latin letters; None leaves it to Windows-1252, the usual case.

    Statistical detection confuses the Latin code pages with each other on a few accents, so it is asked only where high bytes are common.
    """
    sample = data[:_SAMPLE_BYTES]
    num_high = len(sample) - len(sample.translate(None, _HIGH_BYTES))
    if num_high * 5 < len(sample):
        return None
    best = from_bytes(sample).best()
    # UTF-16 without its mark is a guess that any bytes allow
    return best.encoding if best is not None and not best.encoding.startswith("utf") else None


def _decode_exactly(data: bytes, encoding: str) -> str | None:
    try:
        text = data.decode(encoding)
        return text if text.encode(encoding) == data else None
    except UnicodeError:
        return None


def _name_encoding(encoding: str) -> str:
    return {"cp1252": "Windows-1252", "latin-1": "Latin-1"}.get(encoding, encoding)


def _keep_stray(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(STRAY_FIRST + byte) for byte in error.object[error.start : error.end]), error.end


def _decode_utf8_stray(data: "ReadableBuffer", errors: str = "strict", /) -> tuple[str, int]:
    source = bytes(data)
    return source.decode("utf-8", STRAY_CODEC), len(source)


def _encode_utf8_stray(text: str, errors: str = "strict", /) -> tuple[bytes, int]:
    parts: list[bytes] = []
    position = 0
    for run in STRAYS.finditer(text):
        parts.append(text[position : run.start()].encode("utf-8"))
        parts.append(bytes(ord(char) - STRAY_FIRST for char in run.group()))
        position = run.end()
    parts.append(text[position:].encode("utf-8"))
    return b"".join(parts), len(text)


def _find_codec(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != STRAY_CODEC:
        return None
    return codecs.CodecInfo(name=STRAY_CODEC, encode=_encode_utf8_stray, decode=_decode_utf8_stray)


codecs.register_error(STRAY_CODEC, _keep_stray)
codecs.register(_find_codec)
