"""A run from its configuration to a model folder: begin or resume, step, evaluate, save.

OUT/config.yaml                   what the run was told
OUT/…                             what the task begins with
OUT/checkpoints/                  see `checkpoints`
OUT/curves/                       TensorBoard's files
OUT/failures/step-00000012.json   which samples a step was of whose loss was no number
OUT/model/                        at the end: the best checkpoint as a model folder
"""

from __future__ import annotations

import ctypes
import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import psutil
import torch

from thoracle.errors import InputError, TrainingDiverged, TrainingStopped
from thoracle.execution.stop_signals import StopSignals
from thoracle.training.engine.checkpoints import CheckpointWriter, best, checkpoints, last_whole
from thoracle.training.engine.config import RunConfig, load_run_config, resume_notes
from thoracle.training.engine.distributed import World, clip_gradients, full_state_dict, load_full_state_dict
from thoracle.training.engine.metric_logger import MetricLogger
from thoracle.training.engine.optimizer import LossScale, build_adamw
from thoracle.training.engine.progress import TrainStep
from thoracle.training.engine.rng import get_rng_state, set_rng_state
from thoracle.training.engine.run_folder import CHECKPOINTS, CONFIG, FAILURES, MODEL, open_run_folder
from thoracle.training.engine.sampler import EpochDataset, StepSampler, VolumeDataset, iterate_batches, iterate_volume_batches
from thoracle.training.engine.schedule import learning_rate_at
from thoracle.training.engine.task import DTYPES, Task, sample_names
from thoracle.training.feed.throughput import ArithmeticMeter, WaitClock

#: Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
#: Numbers of an evaluation by name. It is called on every rank, without gradient and in evaluation mode, as the run goes on.
Evaluator = Callable[[], Mapping[str, float]]


class Trainer:
    """Run a training task; `run` yields its steps as they are done.

    Attributes:
        done: steps that are done.
        task: the model in training.
        notes: sentences on what the run begins with, or goes on with.
    """

    def __init__(
        self,
        config: RunConfig,
        data: EpochDataset[Any],
        world: World,
        *,
        task: Callable[[Path], Task[Any]],
        collate: Callable[[Path], Callable[..., Any]],
        files: Callable[[], Mapping[str, bytes]] = dict,
        notes: Sequence[str] = (),
        resume: bool = False,
        evaluate: Callable[[Any], Evaluator] | None = None,
    ) -> None:
        """Make the run's folder, or open it again. A start that fails leaves no new folder.

        Args:
            config: of the run.
            data: what is trained on.
            world: as `join` gives it.
            task, collate: made with the run's folder, which holds `files`; a `Collate`, or a `VolumeCollate` of a task with volumes.
            files: gives what a new folder holds beside the configuration, by path.
            notes: sentences on what the run begins with.
            resume: go on in a folder that exists; without one the run begins.
            evaluate: makes the evaluation of the task, which is called each `eval_every` steps.

        Raises:
            OutputConflict: the folder exists, and `resume` was not asked for.
            InputError: another configuration, or steps of another number of samples, or too few samples.
        """
        self._order = StepSampler(
            pairs=len(data),
            batch=config.batch_size,
            accumulate=config.gradient_accumulation_steps,
            rank=world.rank,
            size=world.size,
            seed=config.seed,
        )
        if world.device.type == "cpu":
            _keep_memory()
        self.notes, self.done = tuple(notes), 0
        steps = config.total_steps(self._order.steps_per_epoch)
        if config.epochs:
            self.notes += (f"{config.epochs} epochs of {len(data):,} samples are {steps:,} steps of {self._order.global_batch_size}.",)
            config = replace(config, steps=steps, epochs=0)  # what the run is, and goes on as, on however many ranks
        self.config, self._data, self._world = config, data, world
        self._out = Path(config.out)
        self._writer = CheckpointWriter(self._out / CHECKPOINTS, keep_last=config.keep_checkpoints)
        with open_run_folder(config, files, world, resume=resume) as folder:
            self.notes += tuple(world.on_first(lambda: resume_notes(load_run_config(folder / CONFIG, type(config)), config)))
            torch.manual_seed(config.seed)  # alike on all ranks, which begin with the same weights
            self.task, self._collate = task(folder), collate(folder)
            trained = [parameter for parameter in self.task.checkpoint_modules().parameters() if parameter.requires_grad]
            self._optimizer = build_adamw(trained, config.optimizer, text=self.task.text_parameters())
            self._loss_scale = LossScale(moves=config.precision == "float16")
            self._seed_rank()
            self._evaluate = evaluate(self.task) if evaluate and config.eval_every else None
            self._restore()

    def run(self) -> Iterator[TrainStep]:
        """Yield the remaining steps as they are done, then write the model folder.

        SIGTERM and SIGUSR1, to whichever rank, end it at the end of a step.

        Raises:
            TrainingDiverged: a loss or gradient that is no number; which samples it was of is written down.
            TrainingStopped: a signal came; all is saved, on every rank alike.
            OSError: a checkpoint cannot be written.
        """
        config, steps = self.config, range(self.done, self.config.steps)
        clock, meter = WaitClock(), ArithmeticMeter(self._world.device, DTYPES[config.precision])
        stream = clock.timed(self._stream(steps, clock))
        with StopSignals() as stop, self._writer, MetricLogger(self._out, config, self._world, first=self.done) as curves:
            since = time.perf_counter()
            for step in steps:
                began, loss_scale = time.perf_counter(), self._loss_scale.value
                todo = list(islice(stream, config.gradient_accumulation_steps))
                with meter.counting():
                    loss, norm = self._step(step, todo)
                utilization, waited = meter.utilization(time.perf_counter() - began), clock.lap()
                scores = self._evaluated()
                stopped = self._world.any_rank(stop.received or self._writer.failed)
                if self.done % config.save_every == 0 or scores or self.done == config.steps or stopped:
                    self._save(scores.get(config.monitor))
                now = time.perf_counter()
                progress = TrainStep(
                    step=self.done,
                    loss=loss,
                    gradient_norm=norm,
                    learning_rate=self._rate(step),
                    samples_per_second=self._order.global_batch_size / (now - since),
                    data_wait=waited,
                    flops_utilization=utilization,
                    memory=_memory(self._world.device),
                    scores=scores,
                    loss_scale=loss_scale,
                    skipped=self._loss_scale.skipped,
                )
                since = now
                curves.add(progress)
                yield progress
                if stopped and self.done < config.steps:
                    self._world.on_first(self._writer.wait)
                    detail = f"stopped by a signal after step {self.done} of {config.steps}, which is saved"
                    raise TrainingStopped(detail, hint="Go on with --resume.", source=self._out)
            self._world.on_first(self._export)

    def _stream(self, steps: range, clock: WaitClock) -> Iterator[Any]:
        config = self.config
        if not config.volumes_at_once:
            return iterate_batches(self._data, self._order, self._collate, steps=steps, workers=config.batch_workers)
        data = cast(VolumeDataset[Any], self._data)
        chunk, device, workers = config.volumes_at_once, self._world.device, config.num_workers
        return iterate_volume_batches(
            data, self._order, self._collate, steps=steps, chunk=chunk, device=device, workers=workers, clock=clock
        )

    def _step(self, step: int, todo: list[Any]) -> tuple[float, float]:
        for group in self._optimizer.param_groups:
            group["lr"] = group["lr_scale"] * self._rate(step)
        scale, limit = self._loss_scale.value, self.config.optimizer.max_grad_norm
        loss = self.task.accumulate_gradients(todo, loss_scale=scale).item()
        norm = clip_gradients(self.task.trainable_parameters(), self._world, limit=limit, loss_scale=scale)
        finite = math.isfinite(norm)  # on all ranks alike, which step or skip together
        if not math.isfinite(loss) or not (finite or self._loss_scale.may_fall):
            self._diverged(step, loss, norm, todo)
        if finite:
            self._optimizer.step()
            self.task.on_optimizer_step()
        self._loss_scale.update(finite=finite)
        self._optimizer.zero_grad()
        self.done = step + 1
        return loss, norm

    def _rate(self, step: int) -> float:
        return learning_rate_at(self.config.optimizer, step, steps=self.config.steps)

    def _diverged(self, step: int, loss: float, norm: float, todo: list[Any]) -> None:
        volumes = self._world.all_gather_object([name for batch in todo for name in sample_names(batch)])
        path = self._out / FAILURES / f"step-{step:08d}.json"
        if self._world.rank == 0:
            path.parent.mkdir(exist_ok=True)
            about = {"step": step, "loss": str(loss), "gradient_norm": str(norm), "volumes_by_rank": volumes}
            path.write_text(json.dumps(about, indent=1) + "\n")
        raise TrainingDiverged(
            f"loss {loss}, gradient norm {norm} at step {step}",
            hint="The file names the volumes: look at them, or lower the learning rate; --resume goes on from the last checkpoint.",
            source=path,
        )

    @torch.no_grad()
    def _evaluated(self) -> Mapping[str, float]:
        if self._evaluate is None or self.done % self.config.eval_every:
            return {}
        self.task.checkpoint_modules().eval()
        states = get_rng_state(self._world.device)
        scores = self._evaluate()
        set_rng_state(states, self._world.device)
        return scores

    def _seed_rank(self) -> None:
        """Seed what differs between ranks: dropout."""
        torch.manual_seed((self.config.seed * 1_000_003 + self._world.rank + 1 + self.done * (2**31 - 1)) % 2**63)

    def _save(self, score: float | None) -> None:
        """Copy the state on the first rank, which writes it while training goes on; one that is still being written is waited for."""
        self._world.on_first(self._writer.wait)
        first = self._world.rank == 0
        weights, moments = full_state_dict(self.task.checkpoint_modules(), self._optimizer, keep=first)
        ranks = self._world.gather_object({"generators": get_rng_state(self._world.device), "own": dict(self.task.rank_state())})
        if first:
            state = {"step": self.done, "weights": weights, "moments": moments, "ranks": ranks, **self._layout()}
            state |= {"loss_scale": self._loss_scale.state()}
            self._writer.save(state, step=self.done, score=score)

    def _restore(self) -> None:
        checkpoint = self._world.on_first(lambda: last_whole(self._out / CHECKPOINTS))
        if checkpoint is None:
            return
        if checkpoint.step > self.config.steps:
            detail = f"{checkpoint.step} steps are done, more than the {self.config.steps} of the configuration"
            raise InputError(detail, hint="Set steps to as many, or more.", source=self._out)
        state = checkpoint.load(verify=False)
        self._check_layout(state)
        former, size = len(state["ranks"]), self._world.size
        local = state["ranks"][self._world.rank % former]
        load_full_state_dict(self.task.checkpoint_modules(), self._optimizer, weights=state["weights"], moments=state["moments"])
        self.task.load_rank_state(local["own"])
        self.done = state["step"]
        self._loss_scale.load(state["loss_scale"])
        if former == size:
            set_rng_state(local["generators"], self._world.device)
            return
        self._seed_rank()
        note = f"{size} ranks go on with what {former} began: a step sees the same samples, dropout draws other numbers from here on"
        codes = f"; codes that each keeps for itself are those of rank r modulo {former}" if local["own"] else ""
        self.notes += (f"{note}{codes}.",)

    def _layout(self) -> dict[str, int]:
        """Return how a step is shared out, beside the number of ranks."""
        return {name: getattr(self.config, name) for name in ("batch_size", "gradient_accumulation_steps")}

    def _check_layout(self, state: Mapping[str, Any]) -> None:
        """Refuse steps of another number of samples, whose numbers would be another run's."""
        config, (batch, accumulation), ranks = self.config, (state[name] for name in self._layout()), len(state["ranks"])
        samples = batch * accumulation * ranks
        if samples == self._order.global_batch_size and (batch == config.batch_size or not config.compares_batch):
            return
        detail = (
            f"a step was of {ranks} ranks x {accumulation} batches x {batch} samples, and would be of "
            f"{self._world.size} x {config.gradient_accumulation_steps} x {config.batch_size}"
        )
        free = "gradient_accumulation_steps" if config.compares_batch else "batch_size or gradient_accumulation_steps"
        condition = ", and batch_size, whose samples are compared with each other" if config.compares_batch else ""
        raise InputError(detail, hint=f"Keep the product, {samples}{condition}: set {free}, or the number of ranks.", source=self._out)

    def _export(self) -> None:
        self._writer.wait()
        state = best(checkpoints(self._out / CHECKPOINTS)).load()
        self.task.save_model(self._out / MODEL, state["weights"], step=state["step"])


def _keep_memory() -> None:
    """Of one step for the next: glibc hands large blocks back to the system, which zeroes their pages again: half a small model's time."""
    if platform.libc_ver()[0] == "glibc":
        for parameter, value in ((_TRIM_THRESHOLD, 2**31 - 1), (_MMAP_MAX, 0)):
            ctypes.CDLL(None).mallopt(parameter, value)


def _memory(device: torch.device) -> int:
    return int(torch.cuda.max_memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss)
