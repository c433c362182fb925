"""Fine-tuning of a pre-trained network on a folder of photographs: `resnetlab.finetune("photos")`.

The name belongs to this package and to the public function `finetune` of
`resnetlab.api.photographs`, so the package can be called.
Start with `finetune_photos.py`, then `pipeline.py`.
"""

import importlib
import inspect
import sys
import types
from typing import Any


class _CallablePackage(types.ModuleType):
    """Package that calls the public function of its name."""

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_public_function())

    def __call__(self, *values: Any, **options: Any) -> Any:
        return _public_function()(*values, **options)


def _public_function() -> Any:
    # Its module is above this package, so that it is imported when it is called.
    return importlib.import_module("resnetlab.api.photographs").finetune


sys.modules[__name__].__class__ = _CallablePackage
