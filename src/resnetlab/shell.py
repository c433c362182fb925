"""Words of a command line: which of them are paths, their last part alone, and quotes for the shell at hand.

Imports nothing of resnetlab.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import PurePath, PureWindowsPath

PLAIN = re.compile(r"[A-Za-z0-9_.:/\\=+-]+")
"""What neither cmd nor PowerShell reads as anything but letters. PowerShell makes a list of words with commas."""


def command_line(words: Iterable[str], windows: bool = os.name == "nt") -> str:
    """A command to be pasted into a shell: of POSIX, or with `windows` cmd and PowerShell."""
    return " ".join(map(_quoted, words)) if windows else shlex.join(words)


def resume_command(run: object, *more: str) -> str:
    """The command that goes on with the run in the folder `run`."""
    return command_line(["resnetlab", "resume", str(run), *more])


def is_path(text: str) -> bool:
    """Whether `text` is a path and not a plain name, in the form of this system or with a drive as `C:\\photos`."""
    return "/" in text or os.sep in text or _has_drive(text)


def last_part(text: str) -> str:
    """`text` without the folders that it names: a report shows no path of the machine that it was made on."""
    setting = re.match(r"(?:--)?[A-Za-z][\w.-]*=", text)  # --out=/a/b, data.source=/a/b
    if setting:
        return setting[0] + last_part(text[setting.end() :])
    if not is_path(text):
        return text
    return (PureWindowsPath if _has_drive(text) else PurePath)(text).name or text


def _has_drive(text: str) -> bool:
    """Whether `text` begins as only Windows' paths do: `C:\\`, `C:/` or `\\\\server\\share`."""
    return bool(re.match(r"[A-Za-z]:[\\/]|\\\\[^\\]", text))


def _quoted(word: str) -> str:
    """A word as cmd and PowerShell pass it on, by the rules by which a program of Windows reads its command line."""
    if PLAIN.fullmatch(word):
        return word
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', word)
    return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'
