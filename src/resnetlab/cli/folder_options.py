"""Options of the commands that read a folder of images: links, columns, nested folders, groups."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from resnetlab.cli.common import (
    FollowLinksChoice,
    FollowLinksOption,
    GroupOption,
    LabelColumn,
    Nested,
    PathColumn,
)

if TYPE_CHECKING:
    from resnetlab.data.config import FolderChoices


@dataclass(frozen=True)
class FolderOptions:
    """Values of these options, without an import of the data sets.

    They are the fields of a `FolderChoices` of `data.config`.
    """

    follow_links: FollowLinksChoice = "no"
    path_column: str = ""
    label_column: str = ""
    nested: bool = False
    group: str = ""

    def folder_choices(self) -> FolderChoices:
        """Return the choices for reading a folder of images."""
        from resnetlab.data.config import FolderChoices

        return FolderChoices(**vars(self))

    def settings(self) -> list[str]:
        """Return the settings FIELD=VALUE of a run's data that differ from their default."""
        values = {
            "follow_links": "" if self.follow_links == "no" else self.follow_links,
            "path_column": self.path_column,
            "label_column": self.label_column,
            "nested": "true" if self.nested else "",
            "group": self.group,
        }
        texts = ("path_column", "label_column", "group")
        return [
            f"data.{name}={_as_toml(value) if name in texts else value}"
            for name, value in values.items()
            if value
        ]


def _as_toml(text: str) -> str:
    """Return a text that TOML reads as this string: `2024` gets quotes, `label` needs none."""
    from resnetlab.studies.parsing.overrides import toml_value

    return text if toml_value(text) == text else json.dumps(text, ensure_ascii=False)


DEFAULT_FOLDER_OPTIONS = FolderOptions()
_DECLARATIONS = {
    "follow_links": FollowLinksOption,
    "path_column": PathColumn,
    "label_column": LabelColumn,
    "nested": Nested,
    "group": GroupOption,
}


def with_folder_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the five options in place of its parameter `folder_options`."""

    @functools.wraps(command)
    def run(**values: Any) -> None:
        options = FolderOptions(
            **{name: values.pop(name) for name in _DECLARATIONS if name in values}
        )
        command(**values, folder_options=options)

    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=_DECLARATIONS[field.name],
        )
        for field in fields(FolderOptions)
    ]
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        is_replaced = name == "folder_options"
        keyword_only = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += options if is_replaced else [keyword_only]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
