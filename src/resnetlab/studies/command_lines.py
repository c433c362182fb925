"""Command lines that repeat or continue a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resnetlab.shell import command_line, split_command, strip_folders


def repeat_command(
    source: str | Path,
    data: str | None,
    settings: Sequence[str],
    seeds: Sequence[int] | None,
    variant: str,
) -> str:
    """Return the command that repeats a study, without absolute paths of this machine.

    A report prints it, and such paths do not help its reader.
    """
    name = strip_folders(str(source)) if Path(source).is_absolute() else str(source)
    names = list(map(_without_folder, settings))
    return continue_command(name, strip_folders(data) if data else None, names, seeds, variant)


def continue_command(
    source: str | Path,
    data: str | None,
    settings: Sequence[str],
    seeds: Sequence[int] | None,
    variant: str,
) -> str:
    """Return the command that continues a study on this machine."""
    words = ["resnetlab", "study", "run", str(source), *(["--data", data] if data else [])]
    words += [word for setting in settings for word in ("--set", setting)]
    words += [f"--{variant}"] if variant else []
    return command_line(words if seeds is None else [*words, *_seed_words(seeds)])


def with_seeds(command: str, seeds: Sequence[int]) -> str:
    """Return a command of `study run` with other seeds."""
    words = split_command(command)
    if "--seeds" in words:
        position = words.index("--seeds")
        del words[position : position + 2]
    return command_line([*words, *_seed_words(seeds)])


def _seed_words(seeds: Sequence[int]) -> list[str]:
    consecutive = tuple(seeds) == tuple(range(len(seeds)))
    return ["--seeds", str(len(seeds)) if consecutive else ",".join(map(str, seeds))]


def with_output(command: str, output: str | Path) -> str:
    """Return a command with the option --output, unless it has it or does not need it."""
    if not command or Path(output) == Path() or "--output" in command:
        return command
    return f"{command} {command_line(['--output', str(output)])}"


def _without_folder(setting: str) -> str:
    """Return a setting without the folder of the file that it names."""
    key, _, value = setting.partition("=")
    return (
        f"{key}={strip_folders(value.strip())}"
        if value.strip().endswith((".toml", ".csv"))
        else setting
    )


def study_file_path(name: str) -> Path:
    """Return the path of the file of a study from a dictionary, below the output folder."""
    return Path("studies") / f"{name}.toml"


def study_command(
    command: str, output: str | Path, written_name: str = "", max_seeds: int | None = None
) -> str:
    """Return the command that continues a study with its output folder and its looks.

    Args:
        command: Command that continues the study in the present folder.
        output: Folder that contains `runs` and `studies`.
        written_name: Name of a study from a dictionary, whose file is written below `output`.
        max_seeds: Largest number of seeds per condition; None without interim looks.
    """
    command = with_output(command, output)
    if written_name:
        path = str(study_file_path(written_name))
        words = [str(Path(output) / path) if w == path else w for w in split_command(command)]
        command = command_line(words)
    if max_seeds is None or "--until-decided" in command:
        return command
    return f"{command} --until-decided --max-seeds {max_seeds}"
