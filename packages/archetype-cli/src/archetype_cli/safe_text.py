"""Text that comes from a world, made safe to print: no character of it moves the cursor or changes the terminal.

Names, messages and string columns are written by agents. Control characters, escape sequences, invisible characters and
those that change the direction of text are spelled out, an escape as a backslash with x1b.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def shown(text: str) -> str:
    """Return text with everything that a terminal would act on spelled out."""
    return _UNSAFE.sub(_spelled, text)


def json_safe(text: str) -> str:
    """Return JSON with the same characters as JSON escapes. They can only be inside strings, so its meaning stays."""
    return _UNSAFE.sub(_escaped, text)


def _spelled(found: re.Match[str]) -> str:
    character = found.group()
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    if found.group() == "\n":
        return "\n"
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
