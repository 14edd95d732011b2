"""A profile: how the hardware is used; resolved against the machine before anything starts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, ValidationError

import engine
from engine.errors import EnvironmentUnfit, InputError
from engine.study.machine import Machine
from engine.study.model import Config
from engine.study.refusal import explain
from engine.study.spec import read_yaml

Auto = Literal["auto"]
GPU_SLOT_BYTES = 16 << 30
MOST_SLOTS_OF_A_GPU = 4
"""More workers than that wait for each other: a GPU computes for one process at a time."""
KNOWN_GAPS = {
    "mps": (
        "no float64: analyses compute on the CPU",
        "no deterministic kernels: two runs of one study may differ in their last digits",
        "operations that Metal lacks fail by name, unless the profile sets `mps_fallback: true`",
    )
}
"""What a device cannot do, whatever the profile."""
UNKNOWN_MEMORY = " (of the computer: that of the GPU is unknown without the package nvidia-ml-py)"


class OpenMP(Config):
    """What is done about OpenMP, whose thread pools collide in more than one way."""

    wait_policy: Literal["passive", "active"] = "passive"
    """`passive` lets idle threads sleep; `active` lets them spin, which starves other workers."""
    duplicate_runtime: Literal["refuse", "allow-on-macos"] = "refuse"
    """Two OpenMP runtimes in one process abort on macOS. `allow-on-macos` sets
    KMP_DUPLICATE_LIB_OK=TRUE for the workers when a duplicate is found there, with a warning in the
    provenance of every result; its vendor says that results may silently be wrong."""


class Profile(Config):
    """A hardware description, as written in `profiles/*.yaml`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
    """Name, as in `--profile NAME`."""
    description: str = ""
    """One sentence for lists."""
    device: Literal["cpu", "mps", "cuda", "auto"]
    """Device of the workers; `auto` takes the best one present."""
    slots: PositiveInt | Auto = "auto"
    """Workers at once; `auto` is one per core on the CPU, one with Metal, and on each visible NVIDIA GPU one
    per 16 GB of the memory that may be planned, 4 at most (one where that memory is unknown). Workers are
    spread over the GPUs; each sees the one that it is given."""
    threads: PositiveInt | Auto = "auto"
    """Threads of one worker; `auto` divides the cores among the slots."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the matrix products of SAEs; weights, sums and moments are always float32."""
    deterministic: bool = True
    """Whether only deterministic kernels are allowed; Metal promises none, whatever this says."""
    tf32: bool = False
    """Whether float32 products and convolutions on CUDA may round their factors to TF32 (10 bits instead of
    23), which is faster on Ampere and later. Set for cuBLAS and cuDNN each, recorded in every result, and
    part of its key. Other devices never do."""
    mps_fallback: bool = False
    """Whether operations that Metal lacks are computed on the CPU (PYTORCH_ENABLE_MPS_FALLBACK=1), slowly
    and without a word; otherwise they fail by name. Read with `mps` alone."""
    memory_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    """Share of the memory that all workers together may plan to use: that of the GPUs with `cuda`, if the
    package nvidia-ml-py is there to ask them, else that of the computer."""
    openmp: OpenMP = OpenMP()
    """OpenMP policy."""


@dataclass(frozen=True)
class Placement:
    """A profile resolved on a machine: what the workers really get."""

    profile: str
    device: str
    slots: int
    threads: int
    cores: int
    precision: str
    deterministic: bool
    memory_bytes: int
    openmp: OpenMP
    memory_note: str = ""
    """What people should know of that memory; with the blank before it, or empty."""
    tf32: bool = False
    mps_fallback: bool = False
    gpus: tuple[str, ...] = ()
    """GPUs that workers are spread over, as CUDA_VISIBLE_DEVICES names them; empty where all use the same."""

    @property
    def gpu_memory_bytes(self) -> int:
        """Memory that the workers of one GPU may plan to use; without several, that of all workers."""
        return self.memory_bytes // max(1, len(self.gpus))

    @property
    def slot_memory_bytes(self) -> int:
        """Memory of one worker when every slot is taken."""
        return self.gpu_memory_bytes // -(-self.slots // max(1, len(self.gpus)))

    def numerics(self) -> dict[str, str | bool]:
        """Return what may change a result's digits; part of every content key.

        The fallback of Metal is not: a result that was made without it met no operation that it changes.
        """
        return {
            "device": self.device,
            "precision": self.precision,
            "deterministic": self.deterministic,
            **({"tf32": self.tf32} if self.device == "cuda" else {}),
        }

    def numerics_options(self) -> list[str]:
        """Return the same as options of the processes that compute outside the queue."""
        return ["--deterministic"] * self.deterministic + ["--tf32"] * self.tf32


def profile_folder() -> Path:
    """Return the folder of the profiles: inside the installed package, or beside it in a checkout."""
    package = Path(engine.__path__[0])
    inside = package / "profiles"
    return inside if inside.is_dir() else package.parent / "profiles"


def profiles() -> dict[str, Profile]:
    """Return the profiles that ship with the package, by name."""
    return {path.stem: _read(path) for path in sorted(profile_folder().glob("*.yaml"))}


def read_profile(name_or_path: str) -> Profile:
    """Read a shipped profile or a profile file; raise InputError if there is none or it is wrong."""
    shipped = profile_folder() / f"{name_or_path}.yaml"
    if "/" not in name_or_path and shipped.is_file():
        return _read(shipped)
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return _read(path)
    names = ", ".join(sorted(profiles()))
    raise InputError(
        f"--profile {name_or_path}", "no such profile", f"one of {names}, or a YAML file"
    )


def _read(path: Path) -> Profile:
    data = read_yaml(path)
    try:
        return Profile.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise explain(error, Profile, str(path)) from None


def place(profile: Profile, machine: Machine) -> Placement:
    """Resolve a profile on a machine.

    Raises:
        EnvironmentUnfit: the machine lacks the device, or has fewer cores than threads asked for; the
            message names the profiles that fit.
    """
    device = profile.device
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if name in machine.devices)
    if device not in machine.devices:
        raise EnvironmentUnfit(
            f"profile {profile.name}: no {device} device: {machine.missing[device]}; "
            f"profiles that fit here: {', '.join(fitting(machine))}"
        )
    slots = _auto_slots(profile, machine, device) if profile.slots == "auto" else profile.slots
    threads = max(1, machine.cores // slots) if profile.threads == "auto" else profile.threads
    if slots * threads > machine.cores:
        raise EnvironmentUnfit(
            f"profile {profile.name}: {slots} slots of {threads} threads oversubscribe "
            f"{machine.cores} cores, which is slower than fewer; lower slots or threads"
        )
    unknown = device == "cuda" and device not in machine.device_memory
    gpus = machine.gpus if device == "cuda" and len(machine.gpus) > 1 else ()
    memory = machine.memory_bytes
    if own := machine.device_memory.get(device):
        memory = own * max(1, len(gpus))
    return Placement(
        profile=profile.name,
        device=device,
        slots=slots,
        threads=threads,
        cores=machine.cores,
        precision=profile.precision,
        deterministic=profile.deterministic and device != "mps",
        memory_bytes=int(profile.memory_share * memory),
        openmp=profile.openmp,
        memory_note=UNKNOWN_MEMORY if unknown else "",
        tf32=profile.tf32 and device == "cuda",
        mps_fallback=profile.mps_fallback and device == "mps",
        gpus=gpus,
    )


def _auto_slots(profile: Profile, machine: Machine, device: str) -> int:
    if device == "cpu":
        return machine.cores
    planned = profile.memory_share * machine.device_memory.get(device, 0)
    each = max(1, min(MOST_SLOTS_OF_A_GPU, int(planned // GPU_SLOT_BYTES)))
    return min(machine.cores, each * max(1, len(machine.gpus))) if device == "cuda" else 1


def fitting(machine: Machine) -> list[str]:
    """Return the names of the shipped profiles whose device this machine has."""
    return [n for n, p in profiles().items() if p.device == "auto" or p.device in machine.devices]


def worker_environment(placement: Placement, threads: int, system: str) -> dict[str, str]:
    """Return the environment variables of one worker; they must be set before torch is imported."""
    count = str(threads)
    environment = {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "VECLIB_MAXIMUM_THREADS": count,
        "OMP_WAIT_POLICY": placement.openmp.wait_policy.upper(),
        "PYTHONUNBUFFERED": "1",
    }
    if placement.device == "cuda":
        # Without it cuBLAS products are not deterministic.
        environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if placement.device == "mps":
        environment["PYTORCH_ENABLE_MPS_FALLBACK"] = str(int(placement.mps_fallback))
    if system == "Darwin" and placement.openmp.duplicate_runtime == "allow-on-macos":
        from engine.study.openmp import runtimes_on_disk

        if len(runtimes_on_disk()) > 1:
            environment["KMP_DUPLICATE_LIB_OK"] = "TRUE"
    return environment
