"""Make and train a tiny nnU-Net v2 model on the spot; run by the Python that nnunetv2 is installed for.

    python tiny_nnunet.py MODEL_FOLDER --outputs 4 --levels 1:400 2:900 3:1800

It learns to tell blocks by their density: label 1 at 400 HU and so on, in water, in air.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet

SPREAD = 500.0  # HU: what the normalisation of the plans divides by
KERNELS, STRIDES = [[3, 3, 3], [3, 3, 3]], [[1, 1, 1], [2, 2, 2]]
IMPORTED = {
    "conv_op": "torch.nn.modules.conv.Conv3d", "norm_op": None, "dropout_op": None, "nonlin": "torch.nn.LeakyReLU",
}  # fmt: skip
KEPT = {
    "n_stages": 2, "features_per_stage": [8, 8], "kernel_sizes": KERNELS, "strides": STRIDES,
    "n_conv_per_stage": [1, 1], "n_conv_per_stage_decoder": [1], "conv_bias": True,
    "norm_op_kwargs": None, "dropout_op_kwargs": None, "nonlin_kwargs": {"inplace": True},
}  # fmt: skip


def trained(outputs: int, levels: dict[int, float]) -> PlainConvUNet:
    """A network that tells blocks of these densities apart."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    ops = {"conv_op": torch.nn.Conv3d, "norm_op": None, "dropout_op": None, "nonlin": torch.nn.LeakyReLU}
    net = PlainConvUNet(1, num_classes=outputs, deep_supervision=False, **ops, **KEPT)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    weight = torch.tensor([0.1, *([1.0] * (outputs - 1))])
    for _ in range(150):
        hu, label = torch.full((1, 1, 16, 16, 16), -1000.0), torch.zeros(1, 16, 16, 16, dtype=torch.long)
        hu[..., 2:14, 2:14, :] = 40.0
        for number, level in levels.items():
            x, y, z = (int(n) for n in torch.randint(2, 9, (3,)))
            hu[0, 0, x : x + 5, y : y + 5, z : z + 5] = level
            label[0, x : x + 5, y : y + 5, z : z + 5] = number
        loss = torch.nn.functional.cross_entropy(net((hu + 20 * torch.randn_like(hu)) / SPREAD), label, weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net


def plans() -> dict[str, object]:
    """Plans of one configuration, as nnU-Net's planner writes them."""
    again = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    full = {
        "data_identifier": "tiny", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": [32, 32, 32], "median_image_size_in_voxels": [48, 48, 48], "spacing": [3.0, 3.0, 3.0],
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False], "batch_dice": True,
        "resampling_fn_data": "resample_data_or_seg_to_shape", "resampling_fn_data_kwargs": again,
        "resampling_fn_seg": "resample_data_or_seg_to_shape", "resampling_fn_seg_kwargs": {**again, "is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape", "resampling_fn_probabilities_kwargs": again,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {**KEPT, **IMPORTED}, "_kw_requires_import": list(IMPORTED),
        },
    }  # fmt: skip
    seen = {"max": 3000.0, "min": -1024.0, "mean": 0.0, "median": 0.0, "std": SPREAD}
    return {
        "dataset_name": "Dataset001_Tiny", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
        "original_median_spacing_after_transp": [3.0, 3.0, 3.0], "original_median_shape_after_transp": [48, 48, 48],
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "label_manager": "LabelManager",
        "experiment_planner_used": "ExperimentPlanner", "configurations": {"3d_fullres": full},
        "foreground_intensity_properties_per_channel": {
            "0": {**seen, "percentile_00_5": -1000.0, "percentile_99_5": 3000.0}
        },
    }  # fmt: skip


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("folder", type=Path)
    ask.add_argument("--outputs", type=int, required=True)
    ask.add_argument("--levels", nargs="+", required=True)
    ask.add_argument("--names", nargs="*", default=[])
    given = ask.parse_args()
    levels = {int(pair.split(":")[0]): float(pair.split(":")[1]) for pair in given.levels}
    names = {name: number for number, name in enumerate(given.names, start=1)} or {
        f"class_{number}": number for number in range(1, given.outputs)
    }
    (given.folder / "fold_0").mkdir(parents=True)
    (given.folder / "plans.json").write_text(json.dumps(plans()))
    dataset = {"channel_names": {"0": "CT"}, "labels": {"background": 0, **names}, "numTraining": 1, "name": "tiny",
               "file_ending": ".nii.gz"}  # fmt: skip
    (given.folder / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {
        "network_weights": trained(given.outputs, levels).state_dict(), "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"}, "inference_allowed_mirroring_axes": None,
    }  # fmt: skip
    torch.save(checkpoint, given.folder / "fold_0" / "checkpoint_final.pth")


if __name__ == "__main__":
    main()
