"""Licenses of pre-trained weights. Does not import torch."""

from __future__ import annotations

from resnetlab.bundle.spec import Licence
from resnetlab.errors import mistake
from resnetlab.models.configs import External, Model

NON_COMMERCIAL = ("wsl", "swsl", "ssl_", "resnext101_32x48d")
"""Parts of the names of weights that Facebook published under CC-BY-NC 4.0."""


def licence_of(spec: Model) -> Licence:
    """Return the license in the model config, or the one that the network's name implies, or an
    unknown one.
    """
    name = spec.name if isinstance(spec, External) else spec.slug
    of = f"the pre-trained weights of {spec.slug}"
    if isinstance(spec, External) and spec.licence:
        return Licence(name=spec.licence, of=of)
    if any(word in name for word in NON_COMMERCIAL):
        return Licence(name="CC-BY-NC-4.0", of=of, source="github.com/facebookresearch/WSL-Images")
    return Licence(of=of)


def refuse_unaccepted(spec: Model, licence: Licence) -> None:
    """Raise InputError for weights whose license forbids commercial use; the user must accept it
    explicitly.
    """
    if licence.non_commercial:
        what = f"its weights are under {licence}: no commercial use"
        fix = "--accept-licence (study run, finetune, fixres), if you keep to it, or another model"
        raise mistake(spec.slug, what, fix)
