"""bfloat16 where the processor multiplies matrices in it, float32 elsewhere."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]

CPU = torch.device("cpu")


def autocast(device: torch.device = CPU, precision: Precision = "auto") -> torch.autocast:
    """Return the context of a forward pass.

    Parameters
    ----------
    device : torch.device
    precision : {"auto", "float32", "bfloat16"}
        "auto" takes bfloat16 where products in it are many times as fast as in float32.
    """
    wanted = precision == "bfloat16" or (precision == "auto" and _multiplies_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu.get_capabilities().get("amx_tile", False))
