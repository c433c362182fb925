"""Statements of a study file: claims, distances, ensembles and published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resnetlab.errors import Problem
from resnetlab.studies.claims import AnyClaim
from resnetlab.studies.parsing.claims import (
    GridPoint,
    answerable_claims,
    answerable_tables,
    parse_claims,
    parse_distances,
    parse_ensembles,
)
from resnetlab.studies.parsing.references import parse_references
from resnetlab.studies.published.references import MatchedReference
from resnetlab.studies.study import Condition, Distance, Ensemble


@dataclass(frozen=True)
class StatementTables:
    """Tables of a study file that make statements, and the number of its seeds."""

    claims: Sequence[dict[str, Any]]
    distances: Sequence[dict[str, Any]]
    ensembles: Sequence[dict[str, Any]]
    references: Any
    seeds: int


@dataclass(frozen=True)
class Statements:
    """Statements about the conditions of a study."""

    claims: Sequence[AnyClaim]
    distances: tuple[Distance, ...]
    ensembles: tuple[Ensemble, ...]
    references: tuple[MatchedReference, ...]
    left_out: tuple[str, ...] = ()
    """Claims about conditions that the command leaves out."""


def parse_statements(
    tables: StatementTables,
    conditions: list[Condition],
    points: Sequence[Condition] | Sequence[GridPoint],
    where: str,
) -> tuple[Statements, tuple[Problem, ...]]:
    """Return all statements and every mistake; claims need only the `points` of the grid."""
    references, more = parse_references(tables.references, conditions, where)
    claims, problems = parse_claims(tables.claims, points, tables.seeds, where, references)
    problems += more
    distances, more = parse_distances(tables.distances, conditions, where)
    problems += more
    ensembles, more = parse_ensembles(tables.ensembles, conditions, where)
    return Statements(claims, distances, ensembles, references), problems + more


def answerable_statements(
    tables: StatementTables, complete: Statements, conditions: list[Condition], where: str
) -> Statements:
    """Return the statements that need only these conditions, a part of the grid.

    Args:
        tables: Tables of the study file.
        complete: The statements of these tables about the whole grid.
        conditions: Conditions that the command keeps.
        where: File of the tables, for messages.
    """
    # A source may lose all its numbers; that is no mistake here.
    references, _ = parse_references(tables.references, conditions, where)
    claims, left_out = answerable_claims(
        tables.claims, complete.claims, conditions, tables.seeds, where, references
    )
    distances = answerable_tables(parse_distances, tables.distances, conditions, where)
    ensembles = answerable_tables(parse_ensembles, tables.ensembles, conditions, where)
    return Statements(claims, distances, ensembles, references, left_out)
