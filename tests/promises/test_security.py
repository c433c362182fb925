"""SECURITY.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_proof_in_the_security_document_is_a_test() -> None:
    rows = [
        line for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("| ")
    ]
    proofs = [row.rsplit("|", 2)[1] for row in rows if not row.startswith("| threat")]
    assert len(proofs) >= 10
    for proof in proofs:
        names = re.findall(r"`([\w/.]*)::(\w+)`", proof)
        assert names, proof
        text = (ROOT / names[0][0]).read_text()
        for _, name in names:
            assert f"def {name}(" in text, name
