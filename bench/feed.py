"""Volumes a second and memory of a loader: the published one, whole float batches as ours were before, and the feed of training.

    python bench/feed.py [--volumes 16] [--chunk 2] [--workers 2] [--scan FILE] [--no-codecs]

The scan is made as in bench/preprocess.py unless one is given, and preprocessed to 240 x 480 x 480. Each row is a process of its own, which
computes on one thread and reads the same volume again and again from the page cache. A core's rate is volumes over CPU seconds, which other
work on the machine does not change as it does the clock's; memory is the peak above what the process held before its first volume. The
device "meta" stands for one beside the host: what lies on it takes no memory here, and scaling takes no time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from cache import published
from preprocess import write_scan

BATCH = 8  # of the published loader, on a GPU
CODECS = (("zstd", 1, 0), ("zstd", 1, 1024), ("zstd", 3, 1024), ("lz4", 5, 0), ("lz4hc", 2, 512), ("lz4hc", 5, 512), ("lz4hc", 9, 512))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=16)
    parser.add_argument("--chunk", type=int, default=2, help="volumes that are encoded at once")
    parser.add_argument("--workers", type=int, default=2, help="threads of the feed")
    parser.add_argument("--scan", type=Path)
    parser.add_argument("--no-codecs", action="store_true", help="leave out the table of codecs")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(**json.loads(options.child))))
        return
    with tempfile.TemporaryDirectory() as folder:
        scan, cached = options.scan or Path(folder) / "scan.nii.gz", Path(folder) / "a.vol"
        if options.scan is None:
            write_scan(scan)
        size, scale = prepare(scan, cached)
        voxels = size[0] * size[1] * size[2]
        print(f"{' x '.join(map(str, size))}: {cached.stat().st_size / 2**20:.1f} MiB in the cache, {2 * voxels / 2**20:.1f} as int16\n")
        print(f"{'':44}{'volumes/s a core':>17}{'volumes/s':>11}{'peak MiB':>10}")
        for name in WAYS:
            settings = {"name": name, "scan": str(scan), "cached": str(cached), "size": size, "scale": scale}
            settings |= {"volumes": max(1, options.volumes // 8) if "published" in name else options.volumes}
            child = json.dumps(settings | {"chunk": options.chunk, "workers": options.workers})
            run = subprocess.run([sys.executable, __file__, "--child", child], check=True, stdout=subprocess.PIPE, text=True)
            row = json.loads(run.stdout.splitlines()[-1])
            print(f"{name:44}{row['core']:17.2f}{row['clock']:11.2f}{row['mib']:10.0f}", flush=True)
        if not options.no_codecs:
            compare_codecs(cached, size, scale)


def prepare(scan: Path, cached: Path) -> tuple[tuple[int, int, int], float]:
    """Write the cache file; returns its volume's shape and scale."""
    import thoracle
    from thoracle.cohort.samples.volume_cache import pack
    from thoracle.ct.preprocess import PreprocessConfig

    config = PreprocessConfig()
    cached.write_bytes(pack(thoracle.preprocess(thoracle.read(scan), config), scale=config.intensity_scale))
    return config.size, config.intensity_scale


def measure(*, name: str, volumes: int, **settings: Any) -> dict[str, float]:
    """Read so many volumes in one way; a first one, and imports, are not counted."""
    import torch

    torch.set_num_threads(1)
    start = reset_peak()
    loaded = WAYS[name](volumes=volumes + 1, **settings)
    next(loaded)
    cpu, clock = time.process_time(), time.perf_counter()
    count = sum(loaded)
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    return {"core": count / cpu, "clock": count / clock, "mib": (peak() - start) / 2**20}


def published_loader(*, scan: str, volumes: int, **_: Any) -> Iterator[int]:
    for _number in range(volumes):
        published(Path(scan))
        yield 1


def float_batches(*, cached: str, volumes: int, **_: Any) -> Iterator[int]:
    """As a worker did before: a list of floats, and their stack."""
    import torch

    from thoracle.cohort.samples.volume_cache import read_volume

    yield len(torch.stack([torch.from_numpy(read_volume(Path(cached)))]))
    for first in range(0, volumes - 1, BATCH):
        batch = torch.stack([torch.from_numpy(read_volume(Path(cached))) for _number in range(min(BATCH, volumes - 1 - first))])
        yield len(batch)


def into_a_buffer(*, cached: str, size: list[int], scale: float, volumes: int, **_: Any) -> Iterator[int]:
    from thoracle.cohort.samples.volume_cache import read_hounsfield

    buffer = np.empty(size, np.int16)
    for _number in range(volumes):
        read_hounsfield(Path(cached), buffer, scale=scale)
        yield 1


def feed_to(device: str) -> Callable[..., Iterator[int]]:
    def feed(*, cached: str, volumes: int, chunk: int, workers: int, **_: Any) -> Iterator[int]:
        import torch

        from thoracle.cohort.samples.dataset import CachedVolume
        from thoracle.ct.preprocess import PreprocessConfig
        from thoracle.training.feed.volume_feed import feed_volumes

        stored = CachedVolume(path=Path(cached), preprocess=PreprocessConfig())
        left = volumes - 1
        chunks = [[stored], *([stored] * min(chunk, left - first) for first in range(0, left, chunk))]
        for inputs in feed_volumes(chunks, torch.device(device), workers=workers):
            yield len(inputs)

    return feed


WAYS: dict[str, Callable[..., Iterator[int]]] = {
    "published: .nii.gz, resampled, padded": published_loader,
    f"float batches of {BATCH}, as before": float_batches,
    "one thread, into one buffer": into_a_buffer,
    "feed, to a device beside the host": feed_to("meta"),
    "feed, to this CPU": feed_to("cpu"),
}


def compare_codecs(cached: Path, size: tuple[int, int, int], scale: float) -> None:
    """Print what each codec makes of the volume: bytes, CPU seconds to pack, volumes a CPU second to unpack; chunks and filter as ours."""
    from numcodecs import blosc

    from thoracle.cohort.samples.volume_cache import read_hounsfield

    blosc.use_threads = False
    hu = np.empty(size, np.int16)
    read_hounsfield(cached, hu, scale=scale)
    planes = max(1, (4 << 20) // hu[0].nbytes)
    parts = [slice(first, first + planes) for first in range(0, len(hu), planes)]
    again = np.empty_like(hu)
    print(f"\n{'codec, level, block KiB':28}{'MiB':>8}{'smaller':>9}{'pack s':>8}{'unpacked/s':>12}")
    for name, level, block in CODECS:
        codec = blosc.Blosc(cname=name, clevel=level, shuffle=blosc.BITSHUFFLE, blocksize=block << 10)
        since = time.process_time()
        frames = [codec.encode(hu[part]) for part in parts]
        packing, seconds = time.process_time() - since, []
        for _ in range(4):
            since = time.process_time()
            for frame, part in zip(frames, parts, strict=True):
                codec.decode(frame, again[part])
            seconds.append(time.process_time() - since)
        assert np.array_equal(again, hu)
        packed = sum(map(len, frames))
        figures = f"{packed / 2**20:8.1f}{hu.nbytes / packed:8.2f}x{packing:8.2f}{1 / min(seconds):12.1f}"
        print(f"{name + f' {level}, ' + str(block or 'its own'):28}{figures}", flush=True)


def reset_peak() -> int:
    """Forget the peak so far, and return the bytes that are resident."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
