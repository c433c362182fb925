"""Folders under a root: their tree, their paths, and which files are images by their names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from resnetlab.data.sources.folder.types import ScannedFile

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".mpo",
    ".png",
    ".webp",
    ".bmp",
    ".dib",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".avif",
    ".heic",
    ".heif",
)
UNSUPPORTED_SUFFIXES = (
    ".jp2",
    ".jxl",
    ".tga",
    ".ico",
    ".psd",
    ".eps",
)
"""File name suffixes of image formats that cannot be read. Such files are reported as bad files."""

SYSTEM_FILES = ("thumbs.db", "desktop.ini", "icon\r")
SYSTEM_FOLDER = "__macosx"
"""Folder that the archiver of macOS writes beside the files."""


@dataclass(frozen=True)
class FolderTree:
    """Folders under a root, as far as the layout depends on them."""

    root: Path
    entries: list[ScannedFile]
    folders: set[str]

    @cached_property
    def _with_files(self) -> set[str]:
        """Folders with a visible file, directly or in a sub-folder."""
        folders = set()
        for entry in self.entries:
            folder = parent(entry.path)
            if not is_hidden(entry.path) and leaf(entry.path).lower() not in SYSTEM_FILES:
                while folder and folder not in folders:
                    folders.add(folder)
                    folder = parent(folder)
        return folders

    def is_empty(self, folder: str) -> bool:
        """Return True if a folder has no file but hidden ones and those of the system."""
        return folder not in self._with_files

    @property
    def top(self) -> list[str]:
        """Visible folders directly below the root, sorted."""
        return sorted(path for path in self.folders if "/" not in path and not is_hidden(path))

    def classes_in(self, split: str) -> list[str]:
        """Return the names of the visible folders directly below the folder `split`, sorted."""
        return sorted(
            path.split("/")[1]
            for path in self.folders
            if path.count("/") == 1 and parent(path) == split and not is_hidden(path)
        )


def has_image_suffix(path: str) -> bool:
    """Return True if the name of a file says that it is an image, of any format."""
    return path.lower().endswith(IMAGE_SUFFIXES + UNSUPPORTED_SUFFIXES)


def is_hidden(path: str) -> bool:
    """Return True if a part of `path` begins with a dot, or is a folder of the system."""
    return any(part.startswith(".") or part.lower() == SYSTEM_FOLDER for part in path.split("/"))


def parent(path: str) -> str:
    """Return the folder of `path`, or "" if it lies directly below the root."""
    return path.rpartition("/")[0]


def leaf(path: str) -> str:
    """Return the last part of `path`."""
    return path.rpartition("/")[2]


def child_name(path: str, folder: str) -> str:
    """Return the first part of `path` below `folder`."""
    return path.removeprefix(folder + "/").split("/")[0]
