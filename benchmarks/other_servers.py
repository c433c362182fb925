"""Servers of one network by LitServe and by plain FastAPI, for `benchmarks/serve.py`.

`python other_servers.py KIND WEIGHTS PORT` serves a ResNet-18 on 127.0.0.1 until it is ended. KIND
is `fastapi`, `litserve` or `litserve-batches`. A handler is written as the documentation of the
library shows it: a photograph of a form is decoded by Pillow, transformed by torchvision, and
answered with its five most probable classes. It runs in an environment without resnetlab: `uv pip
install torch torchvision safetensors fastapi uvicorn[standard] python-multipart litserve`.
"""

import io
import sys
from typing import Annotated, Any

import litserve
import torch
import uvicorn
from fastapi import FastAPI, File, Request
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torchvision import transforms
from torchvision.models import resnet18

MAX_BATCH_SIZE, BATCH_TIMEOUT = 16, 0.005
TRANSFORM = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)


def load_network(weights: str) -> torch.nn.Module:
    network = resnet18()
    network.load_state_dict(load_file(weights))
    return network.eval()


def preprocess(raw: bytes) -> Tensor:
    image: Tensor = TRANSFORM(Image.open(io.BytesIO(raw)).convert("RGB"))
    return image


def answer(logits: Tensor) -> dict[str, Any]:
    """Return the five most probable classes of one photograph."""
    probabilities, classes = logits.softmax(0).topk(5)
    return {
        "classes": [
            {"name": str(number), "probability": probability}
            for number, probability in zip(classes.tolist(), probabilities.tolist(), strict=True)
        ]
    }


def serve_fastapi(weights: str, port: int) -> None:
    network, app = load_network(weights), FastAPI()

    @app.post("/predict")
    def predict(photograph: Annotated[bytes, File()]) -> dict[str, Any]:
        with torch.inference_mode():
            return answer(network(preprocess(photograph)[None])[0])

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


class Api(litserve.LitAPI):
    """A photograph at a time."""

    def __init__(self, weights: str, **options: Any) -> None:
        super().__init__(**options)
        self.weights = weights

    def setup(self, device: str) -> None:
        self.network = load_network(self.weights).to(device)

    def decode_request(self, request: Request) -> Tensor:  # in truth the form of the request
        return preprocess(request["photograph"].file.read())

    def predict(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = self.network(images[None])[0]
        return logits

    def encode_response(self, output: Tensor) -> dict[str, Any]:
        return answer(output)


class BatchApi(Api):
    """What arrives within a few milliseconds is a batch."""

    def batch(self, inputs: list[Tensor]) -> Tensor:
        return torch.stack(inputs)

    def predict(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = self.network(images)
        return logits

    def unbatch(self, output: Tensor) -> list[Tensor]:
        return list(output)


def serve_litserve(api: litserve.LitAPI, port: int) -> None:
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, log_level="error", generate_client_file=False)


if __name__ == "__main__":
    kind, weights_file, port_number = sys.argv[1:]
    if kind == "fastapi":
        serve_fastapi(weights_file, int(port_number))
    elif kind == "litserve":
        serve_litserve(Api(weights_file), int(port_number))
    else:
        batches = BatchApi(weights_file, max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_TIMEOUT)
        serve_litserve(batches, int(port_number))
