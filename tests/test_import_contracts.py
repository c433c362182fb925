"""The import contracts contain the modules that promise to import no torch."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"


def test_each_module_that_promises_no_torch_is_in_the_contract() -> None:
    """A package in the contract stands for its modules; `import-linter` checks the contract."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (one for one in contracts["contracts"] if one["name"].startswith("Modules with"))
    listed = contract["source_modules"]
    assert listed == sorted(listed)
    promised = [
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCE.rglob("*.py")
        if "Free of torch" in (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "")
    ]
    assert len(promised) > 50
    assert [
        name
        for name in promised
        if not any(f"{name}.".startswith(f"{module}.") for module in listed)
    ] == []
