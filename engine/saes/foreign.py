"""SAEs read from folders in the format of another library. Apart from `formats`, so that no training is redone
when a format changes."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.saes.exchange import Format, read_folder
from engine.saes.formats import TrainedSaes, assemble


def load_foreign(folder: Path, format: Format) -> TrainedSaes:
    """Read the one SAE (S = 1) of a folder.

    Raises:
        InputError: husai did not write it.
        CorruptArtifact: a file is missing, unreadable, or its shapes do not fit its configuration.
    """
    one = read_folder(folder, format)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in one.arrays.items()}
    files = folder / format.settings_file, folder / format.weights_file
    return assemble(files[0], one.settings, files[1], tensors, single=True)
