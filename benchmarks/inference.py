"""Photographs per second of predictions, compared with timm's validation loop.

Run `python benchmarks/inference.py PHOTOGRAPHS`, where PHOTOGRAPHS is a folder with a folder for
each class. Three parts:

- forward: one thread, processor milliseconds of a forward pass for each image. Images are
  contiguous or channels-last, and so are the weights; batch norm is folded or not.
- loop: photographs per second of all cores, with reading, decoding and resizing. Their side is the
  loop of timm's `validate.py`, with batches as large as ours and as many workers as cores. Our side
  is `Classifier.predict_images` with the network as it is, prepared (as `predict`, `evaluate` and
  `serve` use it), and with onnxruntime and OpenVINO in place of torch. The sides alternate, each in
  a new process. What an engine takes until it can predict is measured apart.
- probe: `resnetlab finetune --recipe probe` on all photographs, from the command to its end.

Weights are random, since they do not influence the speed. It prints medians and ratios and writes
`benchmarks/inference.json`; with `--parts`, it replaces the figures of those parts alone. It exits
with 1 if a prediction of a side differs from those of the network as it is.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from machine import machine
from numpy.typing import NDArray
from torch import Tensor, nn

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.deploy.export.network import onnx_proto
from resnetlab.deploy.inputs import find_images
from resnetlab.deploy.predict import Classifier
from resnetlab.model_folder.model_file import ModelFile
from resnetlab.model_folder.store import LoadedModel
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.inference import prepare_for_inference
from resnetlab.models.photo_predictions import PhotoOutputs, make_predict_outputs
from resnetlab.models.weights import write_weights
from resnetlab.recipes.numerics import available_cpus
from resnetlab.training.memory import retain_freed_memory

RESULT = Path(__file__).with_suffix(".json")
NETWORKS = ("resnet18", "resnet50", "resnext50_32x4d", "mobilenetv2_100")
MORE_NETWORKS = ("efficientnet_b0", "regnety_008", "densenet121", "vgg11_bn", "convnext_tiny")
"""Networks of the part `forward` alone."""

PARTS = ("forward", "loop", "probe")
REPETITIONS, FORWARD_REPETITIONS, FORWARD_BATCH, BATCH, SIZE = 3, 3, 4, 32, 224
CLASSES = 1000
QUIET_LOAD = 0.5
"""Load average above which a measurement is marked as taken on a busy machine."""

TARGET = 1.5
PROBE_NETWORK, PROBE_SECONDS = "mobilenetv2_100", 20
PROBABILITY_TOLERANCE = 1e-4


def main() -> int:
    """Measure the parts, print and write the figures; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--networks", nargs="*", help="names of timm; default: those above")
    parser.add_argument("--images", type=int, default=64, help="photographs of the part loop")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    options = parser.parse_args()
    contents: dict[str, Any] = {}
    for part in options.parts:
        about = machine()
        about["busy"] = about["load"] > QUIET_LOAD
        match part:
            case "forward":
                names = options.networks or (*NETWORKS, *MORE_NETWORKS)
                figures = {name: forward_times(name) for name in names}
            case "loop":
                names = options.networks or NETWORKS
                figures = {name: loop_rates(name, options) for name in names}
            case _:
                figures = probe_times(options.photographs)
        contents = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        contents[part] = {**about, "load_after": round(os.getloadavg()[0], 2), "figures": figures}
        RESULT.write_text(json.dumps(contents, indent=1) + "\n")
    rates = contents.get("loop", {}).get("figures", {}).values()
    return int(any(not figures["same_predictions"] for figures in rates))


def build(name: str) -> nn.Module:
    """Return a network of timm with random weights, the same in every process."""
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=CLASSES).eval().requires_grad_(False)


# forward


def forward_times(name: str) -> dict[str, float]:
    """Return milliseconds of one core for each image, the smallest of the repetitions."""
    torch.set_num_threads(1)
    retain_freed_memory()  # as every command does
    model = build(name)
    contiguous = torch.randn(FORWARD_BATCH, 3, SIZE, SIZE)
    images = contiguous.contiguous(memory_format=torch.channels_last)
    weights_too = copy.deepcopy(model).to(memory_format=torch.channels_last)
    folded = prepare_for_inference(model, torch.channels_last)
    variants: dict[str, tuple[nn.Module, Tensor]] = {
        "contiguous": (model, contiguous),
        "channels-last images": (model, images),
        "channels-last images and weights": (weights_too, images),
        "folded, contiguous": (prepare_for_inference(model), contiguous),
        "folded, channels-last images and weights": (folded, images),
    }
    seconds: dict[str, list[float]] = {}
    with torch.inference_mode():
        for repetition in range(1 + FORWARD_REPETITIONS):
            for variant, (network, batch) in variants.items():
                began = time.process_time()
                network(batch)
                if repetition:
                    seconds.setdefault(variant, []).append(time.process_time() - began)
    figures = {
        variant: round(1e3 * min(values) / FORWARD_BATCH, 1) for variant, values in seconds.items()
    }
    print(f"{name}: processor ms per image: {figures}", flush=True)
    return figures


# loop


def loop_rates(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the photographs per second of each side, and their ratios to timm's loop."""
    rates: dict[str, list[float]] = {}
    starts: dict[str, list[float]] = {}
    differences: dict[str, float] = {}
    is_same = True
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repetitions):
            for side in ("timm", "ours"):
                words = [side, name, str(options.photographs), str(options.images), folder]
                command = [sys.executable, __file__, "--side", *words]
                # Our commands let threads sleep while they wait; timm's script does not.
                more = {"OMP_WAIT_POLICY": "PASSIVE"} if side == "ours" else {}
                done = subprocess.run(
                    command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | more
                )
                found = json.loads(done.stdout.splitlines()[-1])
                is_same &= found.get("same_predictions", True)
                differences |= found.get("differences", {})  # the same in every repetition
                for variant, rate in found["rates"].items():
                    rates.setdefault(variant, []).append(rate)
                for engine, seconds in found.get("starts", {}).items():
                    starts.setdefault(engine, []).append(seconds)
    medians = {variant: statistics.median(values) for variant, values in rates.items()}
    for variant, rate in medians.items():
        print(f"{name:18} {variant:16} {rate:6.1f} photographs/s  x {rate / medians['timm']:.2f}")
    return {
        "photographs_per_second": {name: round(rate, 1) for name, rate in medians.items()},
        "all": {name: [round(rate, 1) for rate in values] for name, values in rates.items()},
        "ratio_to_timm": {name: round(rate / medians["timm"], 2) for name, rate in medians.items()},
        "start_seconds": {name: round(min(values), 2) for name, values in starts.items()},
        "largest_difference_of_a_probability": differences,
        "same_predictions": is_same,
        "reaches_target": medians["prepared"] >= TARGET * medians["timm"],
    }


def timm_side(name: str, photographs: Path, count: int) -> dict[str, Any]:
    """Return the rate of the loop of timm's validate.py on the processor."""
    from timm.data import create_dataset, create_loader, resolve_data_config
    from timm.utils import AverageMeter, accuracy
    from torch.utils.data import Subset

    model = build(name)
    config = resolve_data_config({}, model=model)
    device = torch.device("cpu")
    dataset = create_dataset(root=str(photographs), name="")
    loader = create_loader(
        dataset,
        input_size=config["input_size"],
        batch_size=BATCH,
        use_prefetcher=True,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        num_workers=available_cpus(),
        crop_pct=config["crop_pct"],
        device=device,
    )
    # create_loader sets the transform of the data set, so that a part of it is taken afterwards.
    loader.loader = torch.utils.data.DataLoader(
        Subset(dataset, range(count)),
        BATCH,
        num_workers=available_cpus(),
        collate_fn=loader.loader.collate_fn,
        persistent_workers=True,
    )
    criterion, top1, top5, losses = nn.CrossEntropyLoss(), *(AverageMeter() for _ in range(3))
    with torch.inference_mode():
        model(torch.randn(BATCH, *config["input_size"]))
        began = 0.0
        for images, labels in loader:
            began = began or time.monotonic()  # the workers have started and read the first batch
            logits = model(images)
            losses.update(criterion(logits, labels).item(), len(images))
            for meter, value in zip((top1, top5), accuracy(logits, labels, (1, 5)), strict=True):
                meter.update(value.item(), len(images))
        return {"rates": {"timm": count / (time.monotonic() - began)}}


def our_sides(name: str, photographs: Path, count: int, folder: Path) -> dict[str, Any]:
    """Return the rates of our sides, and whether they predict the same."""
    images = find_images([photographs])[0][:count]
    model = find_head(name)
    sides = {"as it is": as_it_is, "prepared": prepared, "onnxruntime": ort, "openvino": openvino}
    rates, starts, probabilities = {}, {}, {}
    for side, make in sides.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            began = time.monotonic()
            outputs = make(model, folder / f"{name}.onnx")
            starts[side] = time.monotonic() - began
        model.__dict__["_network_outputs"] = outputs
        list(model.predict_images(images[:BATCH]))
        began = time.monotonic()
        results = list(model.predict_images(images))
        rates[side] = count / (time.monotonic() - began)
        probabilities[side] = np.stack([result.probabilities for result in results])
    expected = probabilities["as it is"]
    differences = {
        side: float(np.abs(given - expected).max()) for side, given in probabilities.items()
    }
    same_classes = all(
        np.array_equal(given.argmax(1), expected.argmax(1)) for given in probabilities.values()
    )
    return {
        "rates": rates,
        "starts": starts,
        "differences": differences,
        "same_predictions": same_classes and max(differences.values()) <= PROBABILITY_TOLERANCE,
    }


def find_head(name: str) -> Classifier:
    """Return the network as a model of this package, with timm's evaluation transform."""
    module = build(name)
    data_config = timm.data.resolve_data_config({}, model=module)
    transform = EvalTransform(
        size=data_config["input_size"][-1],
        resize=int(data_config["input_size"][-1] / data_config["crop_pct"]),
        interpolation=data_config["interpolation"],
        mean=data_config["mean"],
        std=data_config["std"],
    )
    config = ExternalConfig(source=f"timm/{name}")
    names = tuple(f"class {number}" for number in range(CLASSES))
    file = ModelFile(name=name, model=config, classes=names, eval_transform=transform)
    return Classifier(LoadedModel(module, file), "cpu")


Outputs = Callable[[NDArray[np.uint8]], PhotoOutputs]


def as_it_is(model: Classifier, _: Path) -> Outputs:
    return make_predict_outputs(model.module, model.file.eval_transform, model.device, "")


def prepared(model: Classifier, _: Path) -> Outputs:
    model.__dict__.pop("_network_outputs", None)
    return model._network_outputs


def ort(model: Classifier, path: Path) -> Outputs:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = model.numerics.threads
    session = onnxruntime.InferenceSession(_onnx(model, path), settings)
    return _outputs_of(model, lambda images: session.run(["logits"], {"images": images})[0])


def openvino(model: Classifier, path: Path) -> Outputs:
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": model.numerics.threads,
    }
    network = core.compile_model(core.read_model(_onnx(model, path)), "CPU", settings)
    return _outputs_of(model, lambda images: network(images)[0])


def _onnx(model: Classifier, path: Path) -> bytes:
    """Return the network as ONNX. Only the first process of a network spends the time on it."""
    if not path.exists():
        logging.disable(logging.WARNING)
        example = torch.randn(2, 3, SIZE, SIZE)
        path.write_bytes(onnx_proto(model, example).SerializeToString())
    return path.read_bytes()


def _outputs_of(
    model: Classifier, run: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> Outputs:
    def outputs(views: NDArray[np.uint8]) -> PhotoOutputs:
        images = model.preprocess(views[:, 0]).contiguous().numpy()
        logits = torch.from_numpy(run(images)).double()
        return PhotoOutputs(torch.softmax(logits, 1).numpy(), logits.numpy())

    return outputs


# probe


def probe_times(photographs: Path) -> dict[str, Any]:
    """Return the seconds of a probe on all photographs, with the start of Python and torch."""
    images = find_images([photographs])[0]
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        model = build(PROBE_NETWORK)
        write_weights(weights, model.state_dict(), {"mean": (0.5,) * 3, "std": (0.5,) * 3})
        words = ["finetune", str(photographs), "--model", f"timm/{PROBE_NETWORK}"]
        words += ["--weights", str(weights), "--recipe", "probe", "--output", folder]
        words += ["--time-limit", "0"]  # a busy machine leaves out no photograph either
        command = [sys.executable, "-m", "resnetlab", *words]
        began, processor = time.monotonic(), _children_seconds()
        process = subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        lines = [(time.monotonic() - began, line.decode().strip()) for line in process.stdout]
        if process.wait():
            raise SystemExit("\n".join(line for _, line in lines))
        seconds, processor = time.monotonic() - began, _children_seconds() - processor
    print(
        f"probe of {len(images)} photographs: {seconds:.1f} s, {processor:.1f} s of the processor"
    )
    return {
        "photographs": len(images),
        "network": PROBE_NETWORK,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "below_seconds": PROBE_SECONDS,
        "reaches_target": seconds < PROBE_SECONDS,
        "lines": [
            [round(when, 1), _without_paths(line, photographs, folder)[:100]]
            for when, line in lines
            if line
        ],
    }


def _without_paths(line: str, photographs: Path, folder: str) -> str:
    """Return a line without the paths of this machine."""
    return line.replace(str(photographs), photographs.name).replace(f"{folder}/", "")


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        which, network, root, number, place = sys.argv[2:]
        found = (
            timm_side(network, Path(root), int(number))
            if which == "timm"
            else our_sides(network, Path(root), int(number), Path(place))
        )
        print(json.dumps(found))
    else:
        sys.exit(main())
