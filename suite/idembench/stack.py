"""The software and hardware that bits depend on, as one digest.

Read from package metadata and the processor's own description, without importing torch, so that a
finished run can be recognised in well under a second. A GPU's name needs torch and is asked for only
when a GPU is used. Host names, paths and clocks are no part of it.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from idembench.errors import EnvironmentProblem
from idembench.files import sha256_json

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "accelerate",
    "peft",
    "trl",
    "datasets",
    "lm_eval",
    "numpy",
)
# The instruction sets that torch, oneDNN and MKL choose kernels by.
_CPU_FEATURES = (
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "asimd",
    "sve",
    "bf16",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Library versions and the device's capability.

    Attributes:
        parts: What was found, by name.
    """

    parts: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of the parts."""
        return sha256_json(self.parts)

    def describe(self) -> str:
        """The parts on one line, in name order, so that two stacks can be compared by eye."""
        return ", ".join(f"{name} {value}" for name, value in sorted(self.parts.items()))


@cache
def current(device: str, threads: int) -> Stack:
    """The stack this process would compute on.

    Args:
        device: As in `protocol.Execution`.
        threads: Torch threads on the CPU.

    Raises:
        EnvironmentProblem: If there is no such device here.
    """
    parts = {name: _version(name) for name in _PACKAGES}
    parts["python"] = ".".join(str(part) for part in sys.version_info[:2])
    parts["platform"] = f"{platform.system()} {platform.machine()}"
    parts["device"] = _cpu() if device == "cpu" else _gpu(device)
    parts["threads"] = str(threads)
    return Stack(parts=parts)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _cpu() -> str:
    vendor, flags = platform.processor() or "unknown", set[str]()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("vendor_id", "CPU implementer"):
                vendor = value.strip()
            elif name.strip() in ("flags", "Features"):
                flags = set(value.split())
                break
    except OSError:
        pass
    found = [feature for feature in _CPU_FEATURES if feature in flags]
    return " ".join(["cpu", vendor, *found])


def _gpu(device: str) -> str:
    import torch

    if not (torch.backends.mps.is_available() if device == "mps" else torch.cuda.is_available()):
        raise EnvironmentProblem(
            "There is no such device here.",
            expected="a device that torch can use",
            found=f"torch {torch.__version__} without {device}",
            where=f"--device {device}",
            do="Use --device cpu, or install a torch that was built for the device.",
        )
    if device == "mps":
        return "mps"
    major, minor = torch.cuda.get_device_capability(device)
    return f"{torch.cuda.get_device_name(device)} sm_{major}{minor} cuda {torch.version.cuda}"
