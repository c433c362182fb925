"""Commands that messages print exist, with the options that they name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click

import resnetlab
from resnetlab.cli.main import build_command

SOURCES = Path(resnetlab.__file__).parent


def printed_texts() -> Iterator[tuple[str, str]]:
    """Every text of the source with a command in it, except docstrings, and where it stands."""
    for path in sorted(SOURCES.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) in statements:
                continue
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value for part in node.values if isinstance(part, ast.Constant))
                text = " X ".join(str(part) for part in parts)
            else:
                continue
            if re.search(r"\bresnetlab [a-z]", text):
                yield f"{path.name}:{node.lineno}", text


def test_each_command_in_a_message_exists_with_its_options() -> None:
    group = build_command()
    found = 0
    for where, text in printed_texts():
        for words in re.findall(r"\bresnetlab ((?:[a-zA-Z./_-]+ ?)+)", text):
            command: click.Command = group
            named = words.split()
            while named and hasattr(command, "commands"):
                name = named.pop(0)
                if name not in command.commands:
                    assert command is group, f"{where}: no command {words}"
                    break  # the name of the package in a sentence
                command = command.commands[name]
            else:
                options = {option for item in command.params for option in item.opts}
                for option in (word for word in named if word.startswith("--")):
                    found += 1
                    assert option in options, f"{where}: {words} has no option {option}"
                found += 1
    assert found > 20
