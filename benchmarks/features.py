"""Write and read the features of one slide, 12,000 × 1024: our layout against the field's.

The peer is written plainly after what CLAM's files show: batches of 256 tiles appended to a dataset of chunks (1, D),
the file opened again for every batch; read with one slice. Our writer waits for the disk, so the peer is raced twice:
as it is, and followed by the same wait.

    OMP_NUM_THREADS=1 python benchmarks/features.py
"""

import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from race import peak_megabytes, race

from slidesurv.slides.store import FeatureStore, write_features

TILES, WIDTH, BATCH = 12_000, 1024, 256


def append_in_batches(path: Path, features: NDArray[np.floating], coords: NDArray[np.int64]) -> None:
    path.unlink(missing_ok=True)
    for start in range(0, len(features), BATCH):
        with h5py.File(path, "a") as file:
            for name, values in (("features", features), ("coords", coords)):
                part = values[start : start + BATCH]
                if name not in file:
                    shape = (1, part.shape[1])
                    file.create_dataset(name, data=part, chunks=shape, maxshape=(None, part.shape[1]))
                    continue
                file[name].resize(len(file[name]) + len(part), axis=0)
                file[name][-len(part) :] = part


def append_and_sync(path: Path, features: NDArray[np.floating], coords: NDArray[np.int64]) -> None:
    append_in_batches(path, features, coords)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_slice(path: Path) -> torch.Tensor:
    with h5py.File(path, "r") as file:
        features = torch.from_numpy(file["features"][:])
        torch.from_numpy(file["coords"][:])
    return features.float()


def main() -> None:
    random = np.random.default_rng(0)
    features = random.standard_normal((TILES, WIDTH)).astype(np.float32)
    coords = random.integers(0, 100_000, (TILES, 2))
    for half in (False, True):
        kept = features.astype(np.float16) if half else features
        with TemporaryDirectory() as name:
            folder = Path(name)
            ours, theirs = folder / "ours/s.h5", folder / "theirs.h5"
            write = partial(write_features, ours, kept, coords, encoder="random", half=half)
            append = partial(append_in_batches, theirs, kept, coords)
            write()
            append()
            store = FeatureStore(folder / "ours")
            assert torch.equal(store.read("s")[0], read_slice(theirs))
            title = f"{TILES:,} x {WIDTH} float{16 if half else 32}"
            sizes = [path.stat().st_size / 1e6 for path in (ours, theirs)]
            print(f"\n{title}: ours {sizes[0]:.1f} MB, chunks (1, D) {sizes[1]:.1f} MB")
            peers = {"chunks (1, D), appended and synced": partial(append_and_sync, theirs, kept, coords)}
            race(f"write, {title}, ours synced", write, peers | {"chunks (1, D), not synced": append}, repeats=7)
            race(f"read, {title}", partial(store.read, "s"), {"chunks (1, D)": partial(read_slice, theirs)}, repeats=15)
    print(f"\npeak memory of this process: {peak_megabytes():.0f} MB")


if __name__ == "__main__":
    main()
