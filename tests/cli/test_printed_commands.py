"""Every command that a message prints exists and has the options in the message."""

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


def built_commands() -> Iterator[tuple[str, list[str]]]:
    """Every list of words and every call of the source that builds a command, and its place."""
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.List):
                words = [word for item in node.elts for word in constant_words(item)]
                if "resnetlab" in words[:-1] and words[0] in ("resnetlab", "torchrun"):
                    yield where, words[words.index("resnetlab") + 1 :]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                words = [word for item in node.args for word in constant_words(item)]
                if node.func.id == "resume_command":
                    yield where, ["resume", *words]
                elif node.func.id == "_command" and words:
                    yield where, words


def constant_words(node: ast.expr) -> list[str]:
    """Words of an argument: itself if it is a text, the texts in `*(...)`, else X for a value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if not isinstance(node, ast.Starred):
        return ["X"]
    parts = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
    return [part for part in parts if isinstance(part, str)]


def test_each_command_that_the_code_assembles_exists_with_its_options() -> None:
    commands = list(built_commands())
    assert len(commands) > 15
    for where, words in commands:
        command: click.Command = build_command()
        rest = list(words)
        while hasattr(command, "commands") and rest and rest[0] in command.commands:
            command = command.commands[rest.pop(0)]
        if rest and rest[0] == "X" and hasattr(command, "commands"):
            continue  # the name of the command is a value
        assert not hasattr(command, "commands"), f"{where}: no command {words}"
        options = {option for item in command.params for option in item.opts}
        options |= {option for item in command.params for option in item.secondary_opts}
        unknown = [word for word in rest if word.startswith("--") and word not in options]
        assert not unknown, f"{where}: {words} has no option {unknown}"


def test_each_command_in_a_message_exists_with_its_options() -> None:
    group = build_command()
    count = 0
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
                    count += 1
                    assert option in options, f"{where}: {words} has no option {option}"
                count += 1
    assert count > 20
