"""Command lines: quoting for this system's shell, recognition of paths, removal of folder names.

Imports no other module of resnetlab.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import PurePath, PureWindowsPath

UNQUOTED_WORD = re.compile(r"[A-Za-z0-9_.:/\\=+-]+")
"""Words that need no quotes in cmd and PowerShell. A comma does: PowerShell reads it as a list."""


def command_line(words: Iterable[str], windows: bool = os.name == "nt") -> str:
    """Quote words as a command for a POSIX shell, or with `windows` for cmd and PowerShell."""
    return " ".join(map(_quote, words)) if windows else shlex.join(words)


def split_command(command: str, windows: bool = os.name == "nt") -> list[str]:
    """Split a command of `command_line` into its words."""
    if not windows:
        return shlex.split(command)
    words = re.findall(r'(?s)"(?:[^"\\]|\\.)*"|\S+', command)
    return [_unquote(word) for word in words]


def resume_command(run: object, *extra_arguments: str) -> str:
    """Return the command that resumes the run in the folder `run`."""
    return command_line(["resnetlab", "resume", str(run), *extra_arguments])


def is_path(text: str) -> bool:
    r"""Return True if `text` is a path, of this system or as `C:\photos`, and not a name."""
    return "/" in text or os.sep in text or _has_drive(text)


def strip_folders(text: str) -> str:
    """Remove the folders from a path: a report shows no path of its machine."""
    setting = re.match(r"(?:--)?[A-Za-z][\w.-]*=", text)  # --out=/a/b, data.source=/a/b
    if setting:
        return setting[0] + strip_folders(text[setting.end() :])
    if not is_path(text):
        return text
    return (PureWindowsPath if _has_drive(text) else PurePath)(text).name or text


def _has_drive(text: str) -> bool:
    r"""Return True if `text` starts like a Windows path: `C:\`, `C:/` or `\\server\share`."""
    return bool(re.match(r"[A-Za-z]:[\\/]|\\\\[^\\]", text))


def _unquote(word: str) -> str:
    """Return the text that `_quote` quoted."""
    if not word.startswith('"'):
        return word
    text = re.sub(r"(\\+)$", lambda match: match[0][::2], word[1:-1])
    return re.sub(r'(\\*)\\"', lambda match: match[1][::2] + '"', text)


def _quote(word: str) -> str:
    """Quote a word for cmd and PowerShell, as Windows programs parse a command line."""
    if UNQUOTED_WORD.fullmatch(word):
        return word
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', word)
    return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'
