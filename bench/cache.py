"""Which cache feeds training: the published way from .nii.gz beside raw npy, blosc2, zarr and ours; volumes a second and size on disk.

    python bench/cache.py [--volumes 6] [--workers 2] [--scan FILE]

The scan is made as in bench/preprocess.py (512 x 512 x 300; a body, lungs, a scanner's noise) unless a real one is given; preprocessed it
is 240 x 480 x 480. Each way reads the volume again and again in one process for each core, as loaders do, until every process has read
`--volumes`; one thread a process. All start from files in the page cache. blosc2 and zarr come with the extra `bench`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from preprocess import SHAPE, SIZE, SPACING, TARGET, write_scan

Read = Callable[[Path], np.ndarray]
CHUNK = 8  # planes


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare caches of preprocessed volumes.")
    parser.add_argument("--volumes", type=int, default=6, help="a process")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scan", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        scan = options.scan or root / "scan.nii.gz"
        if options.scan is None:
            write_scan(scan)
        reference = write_all(root, scan)
        raw = size_of(root / "raw.npy")
        print(f"{'':28}{'MiB':>8}{'smaller':>9}{'volumes/s':>11}{'of published':>14}{'worst HU':>10}")
        base = None
        for name, read in WAYS.items():
            path = root / name if (root / name).exists() else scan
            rate = volumes_a_second(read, path, options.volumes if base else max(1, options.volumes // 3), options.workers)
            base = base or rate
            worst = 1000 * float(np.abs(read(path) - reference).max())
            size = size_of(path)
            print(f"{name:28}{size / 2**20:8.1f}{raw / size:8.2f}x{rate:11.2f}{rate / base:13.1f}x{worst:10.3f}")


def write_all(root: Path, scan: Path) -> np.ndarray:
    """Every cache of the one volume, in whole Hounsfield units; returns what the model is given."""
    import blosc2
    import zarr
    from zarr.codecs import BloscCodec

    import thoracle
    from thoracle.cohort.samples.volume_cache import pack

    reference = thoracle.preprocess(thoracle.read(scan))
    hu = np.rint(reference * 1000).astype(np.int16)
    np.save(root / "raw.npy", hu)
    (root / "thoracle.vol").write_bytes(pack(reference, scale=1000.0))
    for name, codec in (("blosc2.b2nd", blosc2.Codec.ZSTD), ("blosc2-lz4.b2nd", blosc2.Codec.LZ4)):
        cparams = {"codec": codec, "clevel": 1, "filters": [blosc2.Filter.BITSHUFFLE], "typesize": 2, "nthreads": 1}
        blosc2.asarray(hu, chunks=(CHUNK, *hu.shape[1:]), cparams=cparams, urlpath=str(root / name), mode="w")
    codec = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")
    zarr.create_array(root / "zarr", shape=hu.shape, chunks=(CHUNK, *hu.shape[1:]), dtype="int16", compressors=codec)[:] = hu
    return reference


def published(path: Path) -> np.ndarray:
    """Decoding and resampling as published: nibabel to float64, rescale, clip, trilinear interpolation, divide, crop or pad."""
    import nibabel as nib
    import torch
    from torch.nn import functional

    image = nib.nifti1.load(path)
    spacing = SPACING if image.shape == SHAPE else tuple(float(mm) for mm in image.header.get_zooms())
    array = np.clip(1.0 * image.get_fdata() + 0.0, -1000, 1000).transpose(2, 0, 1)
    size = [int(n * (spacing[axis] / t)) for n, axis, t in zip(array.shape, (2, 0, 1), TARGET, strict=True)]
    tensor = torch.tensor(array, dtype=torch.float32)[None, None]
    array = functional.interpolate(tensor, size=size, mode="trilinear", align_corners=False)[0, 0].numpy() / 1000
    for axis, length in enumerate(SIZE):
        start = max((array.shape[axis] - length) // 2, 0)
        array = array.take(range(start, start + min(length, array.shape[axis])), axis)
    before = [(length - n) // 2 for length, n in zip(SIZE, array.shape, strict=True)]
    after = [length - n - b for length, n, b in zip(SIZE, array.shape, before, strict=True)]
    return np.pad(array, list(zip(before, after, strict=True)), constant_values=-1).astype(np.float32)


def ours_from_scan(path: Path) -> np.ndarray:
    import thoracle

    return thoracle.preprocess(thoracle.read(path))


def raw_npy(path: Path) -> np.ndarray:
    return as_input(np.load(path))


def blosc2_file(path: Path) -> np.ndarray:
    import blosc2

    return as_input(blosc2.open(str(path), dparams={"nthreads": 1})[:])


def zarr_store(path: Path) -> np.ndarray:
    import zarr

    return as_input(np.asarray(zarr.open_array(path, mode="r")[:]))


def thoracle_cache(path: Path) -> np.ndarray:
    from thoracle.cohort.samples.volume_cache import read_volume

    return read_volume(path)


def as_input(hu: np.ndarray) -> np.ndarray:
    return np.divide(hu, np.float32(1000), dtype=np.float32)


#: A way, named by its file, or one that starts from the scan; the first is what the others are measured by.
WAYS: dict[str, Read] = {
    "published, from .nii.gz": published,
    "thoracle.read, no cache": ours_from_scan,
    "raw.npy": raw_npy,
    "blosc2.b2nd": blosc2_file,
    "blosc2-lz4.b2nd": blosc2_file,
    "zarr": zarr_store,
    "thoracle.vol": thoracle_cache,
}


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size


def volumes_a_second(read: Read, path: Path, volumes: int, workers: int) -> float:
    """Of all processes together; imports and a first volume are not counted."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(workers + 1)
    processes = [context.Process(target=read_again, args=(read, path, volumes, start)) for _ in range(workers)]
    for process in processes:
        process.start()
    start.wait()
    began = time.perf_counter()
    for process in processes:
        process.join()
    return volumes * workers / (time.perf_counter() - began)


def read_again(read: Read, path: Path, volumes: int, start: Event) -> None:
    import torch

    torch.set_num_threads(1)
    read(path)
    start.wait()
    for _ in range(volumes):
        read(path)


if __name__ == "__main__":
    main()
