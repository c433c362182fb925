"""Frozen results of training runs, random streams and committed numbers, which no change of names
or files may change.

`python tests/golden/frozen.py` measures them on this processor and adds them to frozen.json. The
bits of a run depend on the processor, so frozen.json has the SHA-256 of the weights by processor,
and for all others the norm of the weights and the losses, which agree closely on any processor. An
entry is replaced only when training comes to mean something else (ALGORITHM_VERSION), never to make
a test pass.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
FILE = HERE / "frozen.json"
RESULTS = HERE.parents[1] / "results"

SGD = "recipe.optimizer={name='sgd',lr=0.05,momentum=0.9,weight_decay=1e-4}"
ADAM = "recipe.optimizer={name='adam',lr=2e-3}"
FP32 = "numerics.precision=fp32"

RUNS: dict[str, tuple[str, ...]] = {
    "plain, SGD": ("cifar-plain8", SGD, FP32),
    "option A, SGD with Nesterov": (
        "cifar-resnet8",
        "recipe.optimizer={name='sgd',lr=0.05,nesterov=true}",
        FP32,
    ),
    "option A, contiguous": ("cifar-resnet8", SGD, FP32, "numerics.memory_format=contiguous"),
    "option B, Adam": ("cifar-resnet8-b", ADAM, FP32),
    "option C, AdamW": ("cifar-resnet8-c", "recipe.optimizer={name='adamw',lr=2e-3}", FP32),
    "gated, RMSprop": ("cifar-resnet8-gated", "recipe.optimizer={name='rmsprop'}", FP32),
    "full pre-activation": ("cifar-resnet8-b", "model.arrangement=full-preactivation", SGD, FP32),
    "bottleneck": ("cifar-resnet8", "model.block=bottleneck", SGD, FP32),
    "without batch norm": ("cifar-plain8", "model.batch_norm=false", ADAM, FP32),
    "dropout": ("cifar-resnet8", "model.dropout=0.2", ADAM, FP32),
    "depth report": ("depth-report-resnet8", ADAM, FP32),
    "DenseNet": ("densenet10-k4", SGD, FP32),
    "crop, flip, cutout": (
        "cifar-resnet8",
        "recipe.augment={crop_padding=2,flip=true,cutout=5}",
        ADAM,
        FP32,
    ),
    "RandAugment": ("cifar-resnet8", "recipe.augment={randaugment={operations=2}}", ADAM, FP32),
    "mixup, label smoothing": (
        "cifar-resnet8",
        "recipe.augment={mixup=0.4}",
        "recipe.label_smoothing=0.1",
        ADAM,
        FP32,
    ),
    "averaged weights, clipping": (
        "cifar-resnet8",
        "recipe.ema=0.9",
        "recipe.clip_norm=1.0",
        SGD,
        FP32,
    ),
    "one cycle": ("cifar-resnet8", "recipe.schedule={name='one-cycle'}", SGD, FP32),
    "ZCA": ("cifar-resnet8", "recipe.normalize=zca", ADAM, FP32),
    "per image, cosine": (
        "cifar-resnet8",
        "recipe.normalize=per-image",
        "recipe.schedule={name='cosine'}",
        SGD,
        FP32,
    ),
    "accumulated gradients": ("cifar-resnet8", "numerics.grad_accum_steps=2", SGD, FP32),
    "two threads": ("cifar-resnet8", "numerics.threads=2", SGD, FP32),
    "bf16": ("cifar-resnet8", SGD, "numerics.precision=bf16-emulated"),
}
"""A network and settings of a run of five steps."""

STREAMS: tuple[tuple[int, tuple[str | int, ...]], ...] = (
    (0, ("init", "stem.weight")),
    (3, ("epoch", 12, "order")),
    (3, ("epoch", 12, "flip")),
    (7, ("step", 40)),
)


def images(path: Path) -> Path:
    """Write 96 train and 48 test images of four classes, 16x16 RGB: noise and a bright quarter."""
    generator = np.random.default_rng(5)
    parts: dict[str, NDArray[Any]] = {}
    for split, count in (("train", 96), ("test", 48)):
        labels = np.arange(count) % 4
        pixels = generator.integers(0, 160, (count, 16, 16, 3))
        for image, label in enumerate(labels):
            pixels[
                image,
                8 * (label // 2) : 8 * (label // 2) + 8,
                8 * (label % 2) : 8 * (label % 2) + 8,
            ] += 60
        parts |= {f"x_{split}": pixels.astype(np.uint8), f"y_{split}": labels}
    np.savez(path, **parts)
    return path


def train(name: str, folder: Path, data: Path) -> dict[str, Any]:
    """Train one of RUNS below `folder`; return the SHA-256 and norm of its weights, and losses."""
    import resnetlab as rl
    from resnetlab.models.weights import read_weights
    from resnetlab.runs.run_folder import RunFolder

    model, *settings = RUNS[name]
    recipe = folder / "five-steps.toml"
    recipe.write_text("steps = 5\nbatch_size = 24\n")
    fixed = ["numerics.device=cpu"]
    threads = [] if any("threads" in setting for setting in settings) else ["numerics.threads=1"]
    record = rl.train(
        model, str(data), str(recipe), settings=[*fixed, *threads, *settings], output=folder
    )
    weights = RunFolder.find(folder, record.id).path / "weights.safetensors"
    tensors, result = read_weights(weights)[0], record.result
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(f"{key} {tuple(tensors[key].shape)} {tensors[key].dtype};".encode())
        digest.update(tensors[key].contiguous().numpy().tobytes())
    assert result is not None
    assert result.test is not None
    assert result.train is not None
    norm = math.sqrt(sum(float(tensor.double().pow(2).sum()) for tensor in tensors.values()))
    return {
        "sha256": digest.hexdigest(),
        "norm": norm,
        "train_loss_nats": result.train.loss_nats,
        "test_loss_nats": result.test.loss_nats,
    }


def processor() -> str:
    """Name what the bits of a run depend on: processor, vector instructions and torch."""
    import torch

    from resnetlab.training.hardware import instruction_set

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    details = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    name = " ".join(
        details.get(key, "") for key in ("model name", "cpu family", "model", "stepping")
    ).strip()
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    about = [
        name or platform.processor() or platform.machine(),
        instruction_set(),
        f"torch {torch.__version__}",
    ]
    return ", ".join([*about, *([f"oneDNN {limit}"] if limit else [])])


def streams() -> list[int]:
    """Return the seeds of STREAMS."""
    from resnetlab.training.rng import derive_seed

    return [derive_seed(seed, *names) for seed, names in STREAMS]


def committed() -> dict[str, dict[str, Any]]:
    """For each committed result, how many numbers its JSON and CSV files hold, and the SHA-256 of
    them, sorted.

    Names, order and ids may change; numbers may not. The number of a schema is a name. Columns of
    settings (`model`, `recipe.optimizer.lr`) are left out: their values are in report.json.
    """
    results = {}
    for folder in sorted(path for path in RESULTS.iterdir() if path.is_dir()):
        numbers: list[str] = []
        for path in sorted(folder.rglob("*.json")):
            numbers += map(repr, _numbers(json.loads(path.read_text(encoding="utf-8"))))
        for path in sorted(folder.rglob("*.csv")):
            cells = [cell for text in _measured_cells(path) for cell in text.split(",")]
            numbers += [repr(float(cell)) for cell in cells if _is_number(cell)]
        text = "\n".join(sorted(numbers))
        results[folder.name] = {
            "numbers": len(numbers),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
    return results


def _measured_cells(path: Path) -> Iterator[str]:
    """Yield the cells of a CSV file, without the columns of settings."""
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for name, cell in row.items():
                if "." not in name and name not in ("model", "data", "recipe", "numerics"):
                    yield cell


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for key, below in value.items():
            if key not in ("schema", "algorithm_version"):
                yield from _numbers(below)
    elif isinstance(value, list):
        for below in value:
            yield from _numbers(below)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def main() -> None:
    """Measure all of it here and write frozen.json; keep what other processors gave."""
    result = json.loads(FILE.read_text()) if FILE.exists() else {"runs": {}, "bits": {}}
    result["streams"], result["results"] = streams(), committed()
    with tempfile.TemporaryDirectory() as folder:
        data = images(Path(folder) / "quarters.npz")
        for name in RUNS:
            measured = train(name, Path(folder), data)
            result["bits"].setdefault(processor(), {})[name] = measured.pop("sha256")
            result["runs"].setdefault(name, measured)
    FILE.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
