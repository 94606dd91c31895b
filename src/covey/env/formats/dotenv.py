r"""The dotenv format as people have it: a superset of what shells, Node and Python read.

A line is `NAME=value`, optionally after `export`. Unquoted values end at ` #` or the line's end;
single-quoted and backticked ones are literal; double-quoted ones know `\n \r \t \" \\ \$
\``. Quoted values may span lines, and adjacent parts are joined as shells do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from covey.env.formats.entry import Entry, check_entry_name, malformed, sorted_items

_WHAT = "dotenv"
_HEAD = re.compile(r"[ \t]*(?:export[ \t]+)?([^\s=#'\"`]+)[ \t]*=[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")
_DOUBLE_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$", "`": "`"}
_UNBRACED = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_LINE_END = re.compile(r"\r?\n|\Z")
_COMMENT = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_PLAIN_PART = re.compile(r"[^\s'\"`\\]+")


def parse(text: str) -> list[Entry]:
    """Read a dotenv file; raises `InvalidRequestError` naming the line and the cause."""
    return _Reader(text.removeprefix("\ufeff")).entries()


def write(values: Mapping[str, str]) -> str:
    """Write a dotenv file that `parse` and POSIX shells read back, except for a lone CR."""
    return "".join(f"{name}={_quote(value)}\n" for name, value in sorted_items(values))


def _quote(value: str) -> str:
    if _BARE.fullmatch(value):
        return value
    if "'" not in value and "\r" not in value:
        return f"'{value}'"
    escaped = re.sub(r'["\\$`]', lambda found: "\\" + found.group(), value)
    return '"' + escaped.replace("\r", "\\r") + '"'


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def entries(self) -> list[Entry]:
        found = []
        while self._at < len(self._text):
            blank = _COMMENT.match(self._text, self._at)
            if blank is not None:
                self._at = blank.end()
                continue
            found.append(self._entry())
        return found

    @property
    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _entry(self) -> Entry:
        line = self._line
        head = _HEAD.match(self._text, self._at)
        if head is None:
            raise malformed(_WHAT, line, "it is not NAME=value", "Write comments after a #.")
        name = check_entry_name(_WHAT, head.group(1), line)
        # Blanks after `=` may reach a comment: keep one, which is what makes it a comment.
        self._at = head.end()
        quoted = self._text[self._at : self._at + 1] in {"'", '"', "`"}
        if not quoted:
            return self._unquoted(name, line, blank_before=self._text[self._at - 1] in " \t")
        literal, template = self._joined(line)
        end = _COMMENT.match(self._text, self._at)
        if end is None:
            raise malformed(
                _WHAT, line, "something follows the closing quote", "Put # before comments."
            )
        self._at = end.end()
        return _made(name, literal, template, line)

    def _unquoted(self, name: str, line: int, *, blank_before: bool) -> Entry:
        end = _LINE_END.search(self._text, self._at)
        stop = end.start() if end else len(self._text)
        raw = self._text[self._at : stop]
        self._at = end.end() if end else stop
        if blank_before and raw.startswith("#"):
            raw = ""
        raw = re.split(r"[ \t]+#", raw, maxsplit=1)[0].rstrip(" \t\r")
        return _made(name, raw, _braced(raw), line)

    def _joined(self, line: int) -> tuple[str, str]:
        """Read adjacent quoted and plain parts; returns the literal and the expandable text."""
        literal: list[str] = []
        template: list[str] = []
        while self._at < len(self._text) and not self._text[self._at].isspace():
            match self._text[self._at]:
                case "'" | "`" as quote:
                    end = self._text.find(quote, self._at + 1)
                    if end < 0:
                        raise malformed(_WHAT, line, f"its {quote} is never closed")
                    part = self._text[self._at + 1 : end]
                    self._at = end + 1
                    literal.append(part)
                    template.append(part.replace("${", "$${"))
                case '"':
                    part, expandable = self._double(line)
                    literal.append(part)
                    template.append(expandable)
                case "\\" if self._at + 1 < len(self._text):
                    literal.append(self._text[self._at + 1])
                    template.append(self._text[self._at + 1])
                    self._at += 2
                case _:
                    plain = _PLAIN_PART.match(self._text, self._at)
                    if plain is None:
                        raise malformed(_WHAT, line, "it ends in a backslash")
                    self._at = plain.end()
                    literal.append(plain.group())
                    template.append(_braced(plain.group()))
        return "".join(literal), "".join(template)

    def _double(self, line: int) -> tuple[str, str]:
        literal: list[str] = []
        template: list[str] = []
        at = self._at + 1
        while at < len(self._text):
            char = self._text[at]
            following = self._text[at + 1 : at + 2]
            if char == '"':
                self._at = at + 1
                return "".join(literal), "".join(template)
            if char == "\\" and following in _DOUBLE_ESCAPES and following:
                made = _DOUBLE_ESCAPES[following]
                literal.append(made)
                escapes_brace = made == "$" and self._text.startswith("{", at + 2)
                template.append("$$" if escapes_brace else made)
                at += 2
                continue
            literal.append(char)
            name = _UNBRACED.match(self._text, at)
            if name is not None:
                template.append(f"${{{name.group(1)}}}")
                literal[-1] = name.group()
                at = name.end()
                continue
            template.append(char)
            at += 1
        raise malformed(_WHAT, line, 'its " is never closed')


def _braced(text: str) -> str:
    return _UNBRACED.sub(r"${\1}", text)


def _made(name: str, literal: str, template: str, line: int) -> Entry:
    return Entry(
        name, literal, line, None if template == literal and "${" not in literal else template
    )
