"""A study as data: conditions, seeds, claims, and what its report shows beside them. Free of torch."""

from __future__ import annotations

from typing import Any, Literal

from resnetlab.data.config import Data
from resnetlab.inspection.diagnostics_config import Instruments
from resnetlab.models.configs import Model
from resnetlab.recipes.finetune import AnyRecipe, Tuning
from resnetlab.recipes.numerics import Numerics
from resnetlab.schema import Name, Positive, PositiveAmount, Whole, spec
from resnetlab.studies.claims import Claim, Equal, Greater
from resnetlab.studies.references import Beside

Opened = tuple[Data, bool]
"""Data, and whether they are opened as photographs of any size, for fine-tuning."""


@spec
class Condition:
    """A model, data and a recipe: what is compared."""

    label: str
    """Short and unique within the study: `residual 56 (A)`."""
    values: dict[str, Any]
    """Where it stands on each axis of the grid: `{"model.depth": 56}`."""
    model: Model
    data: Data
    recipe: AnyRecipe
    numerics: Numerics | None = None
    """Its own, where the grid varies them; None: the study's."""

    @property
    def opened(self) -> Opened:
        """Its data as its recipe takes them."""
        return self.data, isinstance(self.recipe, Tuning)


@spec
class Distance:
    """Test curves of `left` and `right`, pair by pair, by the sum of their squared residuals."""

    says: str
    """What a source says of it."""
    source: str = ""
    left: tuple[str, ...]
    """Labels of conditions; in a file, axes that pick them."""
    right: tuple[str, ...]
    metric: Literal["top1", "loss"] = "top1"


@spec
class Ensemble:
    """The mean of the probabilities of several runs: of all seeds of a condition, and of one run of each condition."""

    says: str = ""
    """What a source says of it."""
    source: str = ""
    of: tuple[str, ...]
    """Labels of conditions; in a file, axes that pick them."""


Expect = Literal["greater", "less", "equal", "none"]
"""Of a rung against its parent: better, worse, no difference beyond a margin; none: shown, and no claim."""


@spec
class Rung:
    """A condition of a ladder, and what it is judged against."""

    condition: str
    """Its label, which is the rung's name."""
    parent: str = ""
    """The condition that it adds to; empty for the first rung."""
    instead_of: str = ""
    """Of a side rung: the rung whose parent it shares. Nothing is built upon it."""
    adds: tuple[str, ...] = ()
    """`recipe.normalise = train`."""
    why: str = ""
    """In a sentence, what it does and why that should help."""
    source: str = ""
    expect: Expect = "greater"
    margin: PositiveAmount | None = None
    """Of `equal`, in points."""

    @property
    def claim(self) -> Greater | Equal | None:
        """What the study claims of it; None for the first rung and for one of which nothing is expected."""
        here, there = f"“{self.condition}”", f"“{self.parent}”"
        if not self.parent or self.expect == "none":
            return None
        if self.expect == "equal" and self.margin is not None:
            says = f"{here} and {there} are within {self.margin:g} points."
            return Equal(says=says, source=self.source, left=self.condition, right=self.parent, margin=self.margin)
        better, worse = (self.condition, self.parent) if self.expect == "greater" else (self.parent, self.condition)
        word = "more" if self.expect == "greater" else "less"
        return Greater(says=f"{here} is {word} accurate than {there}.", source=self.source, left=better, right=worse)


@spec
class Study:
    """A question and all that answers it, resolved."""

    name: Name
    question: str
    about: str = ""
    """What the study is, in a sentence or two."""
    limits: str = ""
    """What it does not show."""
    conditions: tuple[Condition, ...]
    seeds: tuple[Whole, ...]
    claims: tuple[Claim, ...] = ()
    published: tuple[Beside, ...] = ()
    """Numbers of sources, each with the condition that it stands beside."""
    published_only: tuple[Beside, ...] = ()
    """Those of the same sources that no condition has."""
    numerics: Numerics = Numerics()
    looks: tuple[Positive, ...] = ()
    """Seeds a condition at each look, where seeds are added until the claims are decided; empty: all at once."""
    instruments: Instruments = Instruments()
    """What its runs measure on the way."""
    overrides: tuple[str, ...] = ()
    """What a command changed of the file: `recipe.epochs = 2 (was 10)`."""
    left_out: tuple[str, ...] = ()
    """Claims of the file that need conditions which a command left out of the grid: what they say."""
    distances: tuple[Distance, ...] = ()
    """Pairs of curves of which the report says how far apart they lie."""
    ensembles: tuple[Ensemble, ...] = ()
    """Runs of which the report says what they reach together."""
    ladder: tuple[Rung, ...] = ()
    """Where the conditions are the rungs of one; their claims come first among the study's."""

    def condition(self, label: str) -> Condition:
        """The condition of that label."""
        return next(condition for condition in self.conditions if condition.label == label)

    def numerics_of(self, condition: Condition) -> Numerics:
        """What is asked for the runs of a condition: its own numerics, or the study's."""
        return condition.numerics or self.numerics
