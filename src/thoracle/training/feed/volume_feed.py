"""Volumes from the cache to the device, in order: read ahead by threads, moved and scaled while the caller works on those before.

A thread of `workers` decompresses a volume into a buffer on the host, as it is stored (int16). Another thread copies buffers to the device,
makes float32 chunks of them there, and gives the buffers back. So there are `workers` + 1 buffers, whatever the batch, and two chunks on
the device: the caller's, and the next. With no workers the caller's thread does all of it when a chunk is due.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, count, tee
from queue import Empty, SimpleQueue
from typing import Protocol

import torch
from torch import Tensor

from thoracle.cohort.samples.dataset import LazyVolume
from thoracle.errors import InputError
from thoracle.execution.prefetch import prefetch
from thoracle.training.feed.throughput import WaitClock


class Volumes(Protocol):
    """Give a batch's volumes in chunks (B, 1, z, x, y), as a tensor does that holds them all."""

    def split(self, size: int, /) -> Iterable[Tensor]: ...  # noqa: D102


class VolumeFeed:
    """Give one batch after the other its volumes; each chunk once, in the order that was planned.

    Args:
        chunks: volumes that are encoded at once, in order. A batch that is encoded twice is planned twice: it is read again.
        device: where chunks are made.
        workers: threads that read; each has a buffer of one volume, pinned where the device is a GPU.
        clock: counts how long chunks are waited for.
    """

    def __init__(self, chunks: Iterable[Sequence[LazyVolume]], device: torch.device, *, workers: int, clock: WaitClock) -> None:
        self._chunks = clock.timed(feed_volumes(chunks, device, workers=workers))

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield chunks of `size` volumes, which is what was planned, on the device."""
        for chunk in self._chunks:
            assert len(chunk) <= size, "as it was planned"
            yield chunk
            del chunk

    def close(self) -> None:
        """Stop the threads."""
        self._chunks.close()


def feed_volumes(chunks: Iterable[Sequence[LazyVolume]], device: torch.device, *, workers: int) -> Generator[Tensor, None, None]:
    """Yield a model's input (B, 1, z, x, y) of each chunk, on the device; as `VolumeFeed`, whose arguments these are.

    Raises:
        Exception: from a volume that cannot be read, when its chunk is due.
        InputError: volumes of a chunk are of several sizes.
    """
    on_gpu = device.type == "cuda"
    # Of copies, beside the model's.
    stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
    free: SimpleQueue[Tensor] = SimpleQueue()

    def read(volume: LazyVolume) -> Tensor:
        size, buffer = volume.size, None
        with suppress(Empty):
            buffer = free.get_nowait()
        if buffer is None or buffer.shape != size:
            buffer = torch.empty(size, dtype=torch.int16, pin_memory=on_gpu)
        volume.read_into(buffer)
        return buffer

    def moved() -> Iterator[Tensor]:
        planned, flat = tee(chunks)
        ahead = prefetch(read, chain.from_iterable(flat), ahead=workers)
        for volumes in planned:
            sizes = sorted({volume.size for volume in volumes})
            if len(sizes) > 1:
                detail = f"volumes of {sizes[0]} and {sizes[1]} voxels cannot be one batch"
                raise InputError(detail, hint="Set batch_size (of frozen features, encode_batch_size) to 1.", source="config")
            with torch.cuda.stream(stream):  # None changes nothing
                inputs = torch.empty((len(volumes), 1, *sizes[0]), device=device)
                for input_1ZHW, (volume, buffer) in zip(inputs, ahead, strict=False):
                    volume.write_input(buffer.to(device, non_blocking=True), input_1ZHW[0])
                    if stream is not None:
                        stream.synchronize()  # the buffer is read before it is given back
                    free.put(buffer)
            yield inputs

    following = moved()
    for _, inputs in prefetch(lambda _: next(following, None), count(), ahead=min(workers, 1)):
        if inputs is None:
            return
        if on_gpu:
            inputs.record_stream(torch.cuda.current_stream(device))  # whose work on it ends after we have let go of it
        yield inputs
        del inputs  # the next is not made beside it without workers
