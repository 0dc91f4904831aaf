"""The stack: what bits depend on, and nothing about this machine's name or folders."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from idembench import stack
from idembench.errors import EnvironmentProblem
from idembench.stack import Stack


def test_the_digest_depends_on_every_part() -> None:
    """Another version, another part or a missing one is another stack; the order of parts is not."""
    one = Stack(parts={"torch": "2.0", "threads": "1"})
    others = [{"torch": "2.1", "threads": "1"}, {"torch": "2.0", "threads": "2"}, {"torch": "2.0"}, {}]

    assert one.digest == Stack(parts={"threads": "1", "torch": "2.0"}).digest
    assert 5 == len({one.digest, *(Stack(parts=parts).digest for parts in others)})


def test_threads_are_part_of_the_stack() -> None:
    """Torch computes other bits with other threads, so they make another stack."""
    assert stack.current("cpu", 1).digest != stack.current("cpu", 2).digest


def test_the_stack_names_what_bits_depend_on() -> None:
    """The libraries that compute, the interpreter, the platform, the device and the threads are all named."""
    parts = stack.current("cpu", 1).parts

    assert {"torch", "transformers", "trl", "peft", "lm_eval", "numpy", "python", "platform", "device", "threads"} <= (
        set(parts)
    )
    assert all(parts.values())


def test_the_stack_does_not_know_this_machine() -> None:
    """No host name, no user's folder and no process stands in anything that is hashed."""
    text = stack.current("cpu", 1).describe()

    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
    assert sys.prefix not in text


def test_a_library_that_is_not_installed_is_absent() -> None:
    """A missing library is a fact about the stack, not an error."""
    assert "absent" == stack._version("a-library-nobody-wrote")


def test_the_stack_is_read_without_torch_and_is_the_same_in_a_fresh_process() -> None:
    """A new process finds the same stack, and imports no heavy library to do so."""
    code = (
        "import sys; from idembench import stack; print(stack.current('cpu', 1).digest);"
        "print([name for name in ('torch', 'transformers', 'lm_eval', 'trl') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")

    assert [stack.current("cpu", 1).digest, "[]"] == out[:2]


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_the_machines_fault(device: str) -> None:
    """Asking for a GPU where there is none is answered before anything is computed."""
    import torch

    if torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available():
        pytest.skip(f"this machine has {device}")

    with pytest.raises(EnvironmentProblem) as caught:
        stack.current(device, 1)

    assert f"--device {device}" == caught.value.where
