"""MasegTrainer: only what differs from nnU-Net's own trainer when mammograms are segmented.

The parts are elsewhere in `maseg_nnunet`: folds, loading, augmentation, losses, precision, early stopping. nnU-Net
imports this module from the folder that nnUNet_extTrainer names, then removes it from sys.modules. So nothing here may
be pickled or keep state. Variants are in `maseg_variants.py`.
"""

# nnU-Net has no types:
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from time import time
from typing import Any, Final

import numpy as np
import torch
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.paths import nnUNet_raw
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import distributed, nn

from maseg_nnunet.dataset.folders import VOI_LUTS
from maseg_nnunet.dataset.folds import check_same_cases, fetch, note_cases, read_fold, without_excluded
from maseg_nnunet.dataset.voi_luts import read_voi_luts
from maseg_nnunet.errors import DatasetError, OutputError, PlanError
from maseg_nnunet.files import atomic, locked
from maseg_nnunet.labels import LABELS
from maseg_nnunet.models.folder import RECORD
from maseg_nnunet.models.precision import autocast, autocast_dtype, keep_memory, on_device
from maseg_nnunet.network import clamp_input
from maseg_nnunet.training.augmentation import Recipe
from maseg_nnunet.training.early_stopping import Progress, judge
from maseg_nnunet.training.losses import PAPER_ALPHA, PixelLoss, WeightedCrossEntropy
from maseg_nnunet.training.patches import TrainingPatches, ValidationPatches, validation_iterations
from maseg_nnunet.training.progress_plot import draw_progress
from maseg_nnunet.training.record import start_seed, training_record, worker_seeds

COLUMN_AXIS: Final = 1
"""The image axis that may be mirrored: there are left and right breasts, but none upside down."""

WITHOUT_DEEP_SUPERVISION: Final = "maseg_nnunet.network.UNet"

BEST, LATEST, FINAL = "checkpoint_best.pth", "checkpoint_latest.pth", "checkpoint_final.pth"


class MasegTrainer(nnUNetTrainer):
    """Trains as the paper does: its augmentation, its loss, its early stopping (sections 2.2.2 and 2.2.3).

    The paper names no optimizer. AdamW with a polynomially falling rate, over at most 200 epochs, is this project's
    choice. checkpoint_best has the weights of the lowest validation loss; checkpoint_final gets them at the end.

    A variant overrides the attributes. It needs no constructor of its own.

    Attributes:
        alpha: Weights of the classes in the loss.
        recipe: The augmentation.
        patience: Epochs without a better validation loss after which training stops, None for never.
        loader: The class that makes the training patches.
        muscle_share: Share of the patches in a batch that contain pectoral muscle if their image has any.
        length: Maximum number of epochs, and steps of each.
        learning_rate: The learning rate of the first epoch.
        falling: Number of epochs over which the learning rate falls, after which it is held. None for all epochs.
        counted_from: The epoch from which validation losses count, for the best weights and for `patience`.
        final_validation_cases: Number of cases that nnU-Net's final validation segments, None for all.
    """

    alpha: tuple[float, ...] = PAPER_ALPHA
    recipe: Recipe = Recipe()
    patience: int | None = 10
    loader: Callable[..., TrainingPatches] = TrainingPatches
    muscle_share: float = 0.33
    length: tuple[int, int] = (200, 250)
    learning_rate: float = 1e-3
    falling: int | None = None
    counted_from: int = 0
    final_validation_cases: int | None = None

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),
    ) -> None:
        # nnU-Net inspects this signature, so *args won't do. Its constructor sets its own values of the attributes
        # below, so ours are assigned afterwards.
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = self.learning_rate
        self.weight_decay = 1e-2
        self.oversample_foreground_percent = self.muscle_share
        self.num_epochs, self.num_iterations_per_epoch = self.length
        self.inference_allowed_mirroring_axes: tuple[int, ...] | None = (COLUMN_AXIS,)
        self.network: Any
        self.dataset_class: Any
        self._cases: int | None = None
        self._split: tuple[list[str], list[str]] = [], []
        self._seed = 0
        self._loaders: list[TrainingPatches] = []
        self.enable_deep_supervision = self.configuration_manager.network_arch_class_name != WITHOUT_DEEP_SUPERVISION

    def make_loss(self) -> PixelLoss:
        """The loss of one output."""
        return WeightedCrossEntropy(self.alpha, ignore_label=self.label_manager.ignore_label)

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """The planned network. A network of another package gets a hook that clamps its input, in prediction too."""
        network: nn.Module = nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
        if not type(network).__module__.startswith("maseg_nnunet."):
            network.register_forward_pre_hook(clamp_input)
        return network

    def initialize(self) -> None:
        """As nnU-Net, from the seed; then use the fastest memory layout, and keep freed memory for the next step.

        Raises:
            PlanError: The plan normalizes images, which are in VOI units already.
            UsageError: $MASEG_SEED is not a number.
        """
        schemes = list(self.configuration_manager.normalization_schemes)
        if set(schemes) != {"NoNormalization"}:
            raise PlanError(
                f"the plan {self.plans_manager.plans_name} normalizes images by {', '.join(schemes)}, and MasegTrainer "
                "expects VOI units as they are: convert the data set with convert_vendor, then run `maseg plan`"
            )
        self._seed = start_seed()
        super().initialize()
        keep_memory(self.device)
        self.network = on_device(self.network, self.device)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """AdamW with nnU-Net's polynomial schedule. Epochs after the schedule's end keep its last rate."""
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, _HeldPolyLR(optimizer, self.initial_lr, self.falling or self.num_epochs)

    def do_split(self) -> tuple[list[str], list[str]]:
        """The fold of splits_final.json, which is copied from nnUNet_raw if it is missing.

        Returns:
            The cases to train on, and those to validate on.

        Raises:
            DatasetError: See `folds.read_fold` and `folds.check_same_cases`. nnU-Net's own split, by image, must never
                happen, and no training may continue with another split.
        """
        folder = Path(self.preprocessed_dataset_folder_base)
        fetch(folder, Path(nnUNet_raw.get()) / folder.name if nnUNet_raw.is_set() else None)
        if self.fold == "all":
            train, validation = (without_excluded(folder, cases) for cases in super().do_split())
        else:
            train, validation = read_fold(folder, self.fold)
        if self.local_rank == 0 and self.current_epoch > 0 and not self.disable_checkpointing:
            check_same_cases(Path(self.output_folder), train, validation)
        self._split = train, validation
        self.print_to_log_file(f"Fold {self.fold}: {len(train)} training and {len(validation)} validation cases.")
        return train, validation[: self._cases]

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Augmented training patches from nnU-Net's workers, and fixed validation patches from a single worker."""
        if self.dataset_class is None:
            self.dataset_class = infer_dataset_class(self.preprocessed_dataset_folder)
        world = distributed.get_world_size() if self.is_ddp else 1
        train, validation = self.get_tr_and_val_datasets()
        self.num_val_iterations_per_epoch = validation_iterations(
            len(validation.identifiers), self.configuration_manager.batch_size, world
        )
        patch = tuple(self.configuration_manager.patch_size)
        scales = self._get_deep_supervision_scales()
        share = self.oversample_foreground_percent
        recipe = self.recipe.at_spacing(float(np.mean(self.configuration_manager.spacing)))
        training = self.loader(train, self.batch_size, patch, recipe, self._read_luts(train), share, scales)
        self._loaders = [training]
        # nnU-Net gives every rank a share of its own; validation must not depend on the number of GPUs.
        fixed = ValidationPatches(
            validation,
            self.batch_size,
            patch,
            self.muscle_share,
            self.num_val_iterations_per_epoch,
            scales,
            self.local_rank,
            world,
        )
        workers = get_allowed_n_proc_DA()
        if workers == 0:
            return SingleThreadedAugmenter(training, None), SingleThreadedAugmenter(fixed, None)
        return self._in_workers(training, workers), self._in_workers(fixed, 1)

    def _in_workers(self, loader: Any, workers: int) -> NonDetMultiThreadedAugmenter:
        return NonDetMultiThreadedAugmenter(
            loader,
            transform=None,
            num_processes=workers,
            seeds=worker_seeds(self._seed, self.current_epoch, self.local_rank, workers),
            num_cached=max(6, workers // 2),
            pin_memory=self.device.type == "cuda",
            wait_time=0.002,
        )

    def _read_luts(self, cases: Any) -> dict[str, Any]:
        path = Path(self.preprocessed_dataset_folder_base) / VOI_LUTS
        if not path.is_file():
            self.print_to_log_file(f"No {path}: only the NORMAL look-up table of each case is jittered.")
            return {}
        luts = read_voi_luts(path)
        if missing := [case for case in cases.identifiers if case not in luts]:
            raise DatasetError(
                f"{path} has no look-up table of {missing[0]} ({len(missing)} cases in all): convert the data set "
                "again, then run `maseg plan`"
            )
        return {case: luts[case] for case in cases.identifiers}

    def _build_loss(self) -> nn.Module:
        loss = self.make_loss()
        if not self.enable_deep_supervision:
            return loss
        weights = 0.5 ** np.arange(len(self._get_deep_supervision_scales()))
        # As nnU-Net: the coarsest output does not count, but DDP must see that it is used.
        weights[-1] = 1e-6 if self.is_ddp and not self._do_i_compile() else 0
        wrapped: nn.Module = DeepSupervisionWrapper(loss, weights / weights.sum())
        return wrapped

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step. On a CPU it runs in the fastest precision, where nnU-Net stays in float32."""
        with autocast(self.device):
            result: dict[str, Any] = super().train_step(batch)
        return result

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step, in the precision of `train_step`."""
        with autocast(self.device):
            result: dict[str, Any] = super().validation_step(batch)
        return result

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """nnU-Net's validation on whole images, without mirroring: the paper does not augment at test time (2.3.1)."""
        axes = self.inference_allowed_mirroring_axes
        self.inference_allowed_mirroring_axes = None
        self._cases = self.final_validation_cases
        try:
            with autocast(self.device):
                super().perform_actual_validation(save_probabilities)
        finally:
            self.inference_allowed_mirroring_axes = axes
            self._cases = None

    @property
    def progress(self) -> Progress:
        """The state of early stopping, by the validation losses in the logger. They are the same on all ranks."""
        return judge(self.logger.get_value("val_losses", step=None), self.patience, self.counted_from)

    def run_training(self) -> None:
        """nnU-Net's loop, until early stopping or the last epoch. A finished training that is continued ends at once.

        Raises:
            OutputError: The folder has a training that is not continued, or another process trains into it.
        """
        folder = Path(self.output_folder)
        is_new = self.current_epoch == 0 and not self.disable_checkpointing
        if is_new and any((folder / name).is_file() for name in (FINAL, LATEST)):
            raise OutputError(f"{folder} has a training already: add --c to continue it, or remove the folder")
        with locked(Path(self.output_folder) / ".lock") if self.local_rank == 0 else nullcontext():
            self._run_epochs()

    def _run_epochs(self) -> None:
        def is_finished() -> bool:
            return self.progress.stop or self.current_epoch >= self.num_epochs

        if is_finished() and (Path(self.output_folder) / FINAL).is_file():
            self.print_to_log_file(f"Training was finished after {self.current_epoch} epochs: nothing left to train.")
            return
        if not is_finished():
            self.on_train_start()
        while not is_finished():
            self.on_epoch_start()
            self.on_train_epoch_start()
            steps = range(self.num_iterations_per_epoch)
            self.on_train_epoch_end([self.train_step(next(self.dataloader_train)) for _ in steps])
            with torch.no_grad():
                self.on_validation_epoch_start()
                steps = range(self.num_val_iterations_per_epoch)
                self.on_validation_epoch_end([self.validation_step(next(self.dataloader_val)) for _ in steps])
            self.on_epoch_end()
        self.on_train_end()

    def on_epoch_end(self) -> None:
        """Log the epoch, save checkpoints and draw progress.png.

        The best weights are saved before the latest: a training killed in between repeats this epoch.
        """
        self.logger.log("epoch_end_timestamps", time(), self.current_epoch)
        log = self.logger.get_checkpoint()
        seconds = log["epoch_end_timestamps"][-1] - log["epoch_start_timestamps"][-1]
        self.print_to_log_file("train_loss", round(float(log["train_losses"][-1]), 4))
        self.print_to_log_file("val_loss", round(float(log["val_losses"][-1]), 4))
        self.print_to_log_file("Pseudo dice", [round(float(dice), 4) for dice in log["dice_per_class_or_region"][-1]])
        self.print_to_log_file(f"Epoch time: {seconds:.2f} s")
        progress = self.progress
        if progress.improved:
            self.print_to_log_file("Best validation loss so far.")
            self.save_checkpoint(str(Path(self.output_folder) / BEST))
        elif progress.best is not None:
            self.print_to_log_file(
                f"No better validation loss for {progress.stale} epochs (patience: {self.patience}); best was epoch "
                f"{progress.best}."
            )
        if progress.stop:
            self.print_to_log_file(f"Early stopping after epoch {self.current_epoch}.")
        self.save_checkpoint(str(Path(self.output_folder) / LATEST))
        if self.local_rank == 0:
            if not self.disable_checkpointing:
                self._replace_earlier_run()
            names = {value: name for name, value in LABELS.items()}
            classes = [names.get(label, str(label)) for label in self.label_manager.foreground_labels]
            draw_progress(Path(self.output_folder) / "progress.png", log, progress, classes)
        self.current_epoch += 1

    def _replace_earlier_run(self) -> None:
        """Remove the final results of an earlier training from the folder, once this one has a checkpoint there.

        nnU-Net prefers checkpoint_final to the latest checkpoint, and scores every mask that it finds in validation.
        """
        folder = Path(self.output_folder)
        (folder / "validation" / "summary.json").unlink(missing_ok=True)
        shutil.rmtree(folder / "validation", ignore_errors=True)
        (folder / FINAL).unlink(missing_ok=True)
        note_cases(folder, *self._split)

    def on_train_end(self) -> None:
        """As nnU-Net, with the best weights: they go into checkpoint_final, and the final validation uses them."""
        if self.is_ddp:
            distributed.barrier()  # rank 0 has written checkpoint_best
        best = Path(self.output_folder) / BEST
        if self.progress.best is not None and best.is_file() and not self.disable_checkpointing:
            self.print_to_log_file(f"The weights of epoch {self.progress.best} are kept.")
            checkpoint = torch.load(best, map_location=self.device, weights_only=True)
            self._bare_network().load_state_dict(checkpoint["network_weights"])
        super().on_train_end()

    def save_checkpoint(self, filename: str) -> None:
        """As nnU-Net, with `training_record`. Never half-written, and without NumPy's scalars for weights_only=True."""
        if self.local_rank != 0 or self.disable_checkpointing:
            return
        self.logger.load_checkpoint(_plain(self.logger.get_checkpoint()))
        with atomic(Path(filename)) as temporary:
            super().save_checkpoint(str(temporary))
            checkpoint = torch.load(temporary, map_location="cpu", weights_only=True)
            torch.save({**checkpoint, RECORD: self.training_record}, temporary)

    @property
    def training_record(self) -> dict[str, Any]:
        """How to repeat this training. It is saved in checkpoints, and nnU-Net writes it into debug.json."""
        return training_record(self._seed, self.recipe, self._loaders, autocast_dtype(self.device))

    def _bare_network(self) -> nn.Module:
        """The network without the wrappers of DDP and torch.compile."""
        network = self.network.module if self.is_ddp else self.network
        bare: nn.Module = getattr(network, "_orig_mod", network)
        return bare


class _HeldPolyLR(PolyLRScheduler):
    """nnU-Net's schedule, which keeps its last rate after its end. nnU-Net's own would return a complex number."""

    def step(self, current_step: int | None = None) -> None:
        super().step(current_step if current_step is None else min(current_step, self.max_steps - 1))


def _plain(value: Any) -> Any:
    """`value` with NumPy's scalars converted to Python's, in dicts and lists too."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
