"""Reference pages of the site, generated from the code: commands, errors and the Python API.

Nothing here is typed by hand that the code already states: help texts, docstrings, defaults.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
import typing
from pathlib import Path
from typing import Any

from site_fields import describe_class, escape, fields_page, files_page, slug, table

import resnetlab
from resnetlab import errors
from resnetlab.cli.common import EXIT_CODES, RENAMED
from resnetlab.cli.main import SECTIONS, build_command
from resnetlab.runs import records

COMMAND_LINE = Path(__file__).parent / "command-line.md"

ERRORS_INTRODUCTION = """# Exit codes and errors

A command that fails prints one line for each mistake on standard error: the file or option, the
field, the problem, the value, the allowed values, and the fix. `--verbose` adds the traceback of
Python.

```text
resnetlab: error: FILE: FIELD: PROBLEM (got VALUE; allowed: VALUES). Fix: FIX
```

## Exit codes
"""

OUTCOMES_INTRODUCTION = """## Outcomes of a run

A run that fails is a result, not an error. Every outcome is counted, and no seed is replaced.
"""

PYTHON_INTRODUCTION = """# Python

`import resnetlab as rl` is fast: a name is imported on first use. `rl.__version__` is the version.
Names that are not on this page may change. [From Python](../how-to/python.md) shows how they work
together.
"""


def reference_pages() -> dict[str, str]:
    """Return the text of each generated page by its path in the site."""
    pages = {f"reference/commands/{slug(title)}.md": commands_page(title) for title in SECTIONS}
    return pages | {
        "reference/fields.md": fields_page(),
        "reference/files.md": files_page(),
        "reference/errors.md": errors_page(),
        "reference/python.md": python_page(),
    }


# Commands
# --------------------------------------------------------------------------------------------------


@functools.cache
def walk_commands() -> dict[str, Any]:
    """Return each command that help shows, by its words: `study run`."""

    def walk(command: Any, words: tuple[str, ...]) -> dict[str, Any]:
        children = getattr(command, "commands", None)
        if children is None:
            return {" ".join(words): command}
        visible = {name: child for name, child in children.items() if not child.hidden}
        parts = [walk(child, (*words, name)) for name, child in visible.items()]
        return {name: command for part in parts for name, command in part.items()}

    return walk(build_command(), ())


def commands_page(title: str) -> str:
    """Return the page of a section of the help: each command with its arguments and options."""
    names = [n for n in walk_commands() if n.split()[0] in SECTIONS[title]]
    order = {name: index for index, name in enumerate(SECTIONS[title])}
    names.sort(key=lambda name: order[name.split()[0]])
    parts = [f"# Commands: {title.lower()}\n"]
    parts += [_command_section(name, walk_commands()[name]) for name in names]
    return "\n".join(parts)


def _command_section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument" and p.name]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join(["resnetlab", name, "[OPTIONS]", *(_metavar(a) for a in arguments)])
    lines = [f"## `{name}`\n", f"{command.help or ''}\n", f"```text\n{usage}\n```\n"]
    if arguments:
        rows = [(f"`{_metavar(a)}`", a.help or "") for a in arguments]
        lines += [table(("argument", "meaning"), rows)]
    rows = [(_option_words(o), escape(o.help or ""), _default(o)) for o in options]
    lines += [table(("option", "meaning", "default"), rows)]
    if anchor := _json_anchors().get(name):
        lines += [f"The keys of `--json`: [{name}](../../command-line.md#{anchor}).\n"]
    return "\n".join(lines)


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _option_words(option: Any) -> str:
    words = ", ".join(f"`{word}`" for word in sorted(option.opts, key=len))
    annotation = getattr(getattr(option, "type_descriptor", None), "annotation", str)
    if annotation is bool or option.is_flag or option.count:
        return words
    if typing.get_origin(annotation) is typing.Literal:
        kind = "|".join(map(str, typing.get_args(annotation)))
    else:
        kind = option.metavar or _KINDS.get(annotation, "TEXT")
    return f"{words} `{kind}`"


_KINDS = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT"}


def _default(option: Any) -> str:
    value = option.default
    if value is None or value is False or value in ("", (), []) or callable(value):
        return ""
    return f"`{value}`"


@functools.cache
def _json_anchors() -> dict[str, str]:
    """Return the anchor of each command's keys on the page of the command line."""
    text = COMMAND_LINE.read_text(encoding="utf-8").partition("\n## JSON\n")[2]
    anchors = {}
    for heading in re.findall(r"^### (.+)$", text, re.M):
        anchor = slug(heading.replace("`", ""))
        anchors |= dict.fromkeys(re.findall(r"`([^`]+)`", heading), anchor)
    outside = COMMAND_LINE.read_text(encoding="utf-8").partition("\n## JSON\n")[0]
    taken = {slug(heading) for heading in re.findall(r"^## (.+)$", outside, re.M)}
    # MkDocs numbers the second heading of a name.
    return {name: f"{anchor}_1" if anchor in taken else anchor for name, anchor in anchors.items()}


# Errors
# --------------------------------------------------------------------------------------------------


def errors_page() -> str:
    """Return the page of exit codes, errors, outcomes and renamed words."""
    codes = [(f"`{code}`", meaning) for code, meaning in EXIT_CODES.items()]
    kinds = [
        (
            f"`{cls.__name__}`",
            f"`{cls.exit_code}`",
            escape(_first_paragraph(cls)),
        )
        for cls in error_classes()
    ]
    statuses = (*typing.get_args(records.Status), "missing run")
    outcomes = [(word, glossary()[word]) for word in statuses]
    return "\n".join(
        [
            ERRORS_INTRODUCTION,
            table(("code", "meaning"), codes),
            "## Errors in Python\n",
            "The functions of `resnetlab` raise these errors. `problems` lists every mistake.\n",
            table(("error", "exit code", "meaning"), kinds),
            OUTCOMES_INTRODUCTION,
            table(("status", "meaning"), outcomes),
            "## Renamed commands and options\n",
            "An old name is refused with the new one.\n",
            table(("old name", "new name"), [(f"`{o}`", f"`{n}`") for o, n in RENAMED.items()]),
        ]
    )


def glossary() -> dict[str, str]:
    """Return the meaning of each word of the glossary."""
    text = (COMMAND_LINE.parent / "glossary.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| (.+?) \| (.+) \|$", text, re.M))


def _first_paragraph(cls: type) -> str:
    return describe_class(cls).partition("\n\n")[0]


def error_classes() -> list[type[errors.ResnetlabError]]:
    """Return the classes of errors that resnetlab raises on purpose."""
    return [
        item
        for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, errors.ResnetlabError)
    ]


# Python
# --------------------------------------------------------------------------------------------------


def python_groups() -> dict[str, list[str]]:
    """Return the public names of the package by kind."""
    groups: dict[str, list[str]] = {"Functions": [], "Classes": [], "Errors": []}
    for name in resnetlab.__all__:  # by name, since an import of all would take seconds
        error, function = name.endswith("Error"), name[0].islower()
        groups["Errors" if error else "Functions" if function else "Classes"].append(name)
    return groups


def python_page() -> str:
    """Return the page of the public Python API."""
    parts = [PYTHON_INTRODUCTION]
    for title, names in python_groups().items():
        parts += [f"## {title}\n", *map(_python_entry, names)]
    return "\n".join(parts)


def _python_entry(name: str) -> str:
    """Return the entry of a public name. A package may have the name of a function, too."""
    if importlib.util.find_spec(f"resnetlab.{name}") is None:
        return f"::: resnetlab.{name}\n"
    function = getattr(importlib.import_module("resnetlab.api.photographs"), name)
    return f'<a id="resnetlab.{name}"></a>\n\n::: {function.__module__}.{name}\n'
