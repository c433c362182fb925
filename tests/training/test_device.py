"""Numerics are resolved to the abilities of this machine before they are hashed."""

from __future__ import annotations

import typing
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.errors import InputError
from resnetlab.recipes.numerics import Numerics
from resnetlab.training.device import autocast, memory_format, setup_device
from resnetlab.training.resolve import resolve_numerics


@pytest.fixture
def no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@given(
    precision=st.sampled_from(["auto", "fp32", "bf16-emulated"]),
    memory_format=st.sampled_from(["auto", "contiguous", "channels_last"]),
    threads=st.integers(0, 4),
    single=st.booleans(),
)
def test_resolved_numerics_have_no_auto_value_and_explicit_values_are_unchanged(
    precision: typing.Any, memory_format: typing.Any, threads: int, single: bool
) -> None:
    requested = Numerics(
        device="cpu", precision=precision, memory_format=memory_format, threads=threads
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("resnetlab.training.resolve.available_cpus", lambda: 7)
        numerics = resolve_numerics(requested, single_run=single)
    assert "auto" not in (numerics.device, numerics.precision, numerics.memory_format)
    assert numerics.threads == (threads or (7 if single else 1))
    assert precision in ("auto", numerics.precision) or (
        precision == "bf16-emulated" and numerics.precision == "bf16"
    )
    assert memory_format in ("auto", numerics.memory_format)
    assert resolve_numerics(numerics, single_run=not single) == numerics, (
        "what is resolved stays resolved"
    )


@pytest.mark.usefixtures("no_accelerator")
def test_auto_on_a_machine_without_accelerator_is_the_cpu() -> None:
    assert resolve_numerics(Numerics(), single_run=False).device == "cpu"


@pytest.mark.usefixtures("no_accelerator")
@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_an_absent_device_is_refused_in_one_line(device: typing.Any) -> None:
    with pytest.raises(InputError) as caught:
        resolve_numerics(Numerics(device=device), single_run=True)
    expected = f"device: no {device} device on this machine (allowed: cpu). Fix: --device auto"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("capability", "precision"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_a_gpu_uses_one_thread_and_bf16_if_supported(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    numerics = resolve_numerics(Numerics(threads=8), single_run=True)
    assert numerics == Numerics(
        device="cuda",
        precision=precision,
        memory_format="channels_last",
        threads=1,
        cuda_graphs="on",
    )
    assert resolve_numerics(numerics, single_run=False) == numerics
    assert resolve_numerics(Numerics(cuda_graphs="off"), single_run=True) == replace(
        numerics, cuda_graphs="off"
    )


def test_cuda_graphs_on_the_cpu_are_refused_and_not_part_of_the_run_id() -> None:
    assert resolve_numerics(
        Numerics(device="cpu", cuda_graphs="off"), single_run=True
    ) == resolve_numerics(Numerics(device="cpu"), single_run=True)
    message = r"numerics\.cuda_graphs: only steps on a GPU are captured"
    with pytest.raises(InputError, match=message):
        resolve_numerics(Numerics(device="cpu", cuda_graphs="on"), single_run=True)


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({}, "fp32"),
        ({"avx512_f": True}, "fp32"),
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
    ],
)
def test_a_cpu_uses_bf16_only_with_native_instructions(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], precision: str
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert resolve_numerics(Numerics(device="cpu"), single_run=True).precision == precision


def test_bf16_without_native_instructions_is_refused_before_planning_and_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True}, raising=False)
    requested = Numerics(device="cpu", precision="bf16")
    expected = (
        r"numerics\.precision: this processor has no instructions for bf16.*Fix: --set "
        r"numerics.precision=fp32"
    )
    with pytest.raises(InputError, match=expected):
        resolve_numerics(requested, single_run=True)
    with pytest.raises(InputError, match=expected):
        setup_device(replace(requested, memory_format="contiguous", threads=1))


@pytest.mark.parametrize(("has", "expected"), [(True, "bf16"), (False, "bf16-emulated")])
def test_bf16_emulated_is_stored_in_the_config_and_resolved_to_bf16_on_native_hardware(
    monkeypatch: pytest.MonkeyPatch, has: bool, expected: str
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has}, raising=False)
    resolved = resolve_numerics(Numerics(device="cpu", precision="bf16-emulated"), single_run=True)
    assert resolved.precision == expected
    assert resolve_numerics(resolved, single_run=True) == resolved
    with autocast(resolved):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("limit", "precision"),
    [
        ("AVX2", "fp32"),
        ("AVX512_CORE", "fp32"),
        ("AVX512_CORE_BF16", "bf16"),
        ("avx512_core_amx", "bf16"),
    ],
)
def test_an_environment_variable_may_disable_bf16(
    monkeypatch: pytest.MonkeyPatch, limit: str, precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert resolve_numerics(Numerics(device="cpu"), single_run=True).precision == precision


def test_a_torch_version_without_capabilities_gets_fp32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert resolve_numerics(Numerics(device="cpu"), single_run=True).precision == "fp32"


def test_prepare_sets_the_threads_of_the_run() -> None:
    before = torch.get_num_threads()
    try:
        device = setup_device(
            Numerics(device="cpu", precision="fp32", memory_format="contiguous", threads=2)
        )
        assert device == torch.device("cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_the_autocast_context_computes_in_the_requested_precision(
    precision: typing.Any, dtype: torch.dtype
) -> None:
    with autocast(Numerics(device="cpu", precision=precision)):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_memory_formats_equal_torch() -> None:
    assert memory_format(Numerics(memory_format="channels_last")) == torch.channels_last
    assert memory_format(Numerics(memory_format="contiguous")) == torch.contiguous_format
