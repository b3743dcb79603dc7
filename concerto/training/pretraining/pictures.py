"""A fixed scene, coloured by what an encoder makes of it: progress that an eye can follow."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from concerto.encoder import PointTransformer
from concerto.model import Concerto
from concerto.points.point_cloud import PointCloud
from concerto.visualize.pca import pca_colors
from concerto.visualize.png import render

SIZE = (960, 720)


def feature_picture(encoder: PointTransformer, cloud: PointCloud) -> np.ndarray:
    """The cloud (H, W, 3) uint8 in the colours of its features' main directions (PCA).

    The encoder works in inference mode and is left as it was. Raises InputError where a feature is
    not finite.
    """
    with torch.device("meta"):
        model = Concerto(encoder.config)
    model.encoder = encoder
    features = model.encode(cloud)
    assert isinstance(features, Tensor)
    colors = pca_colors(features.float().cpu())
    return np.asarray(render(PointCloud(cloud.coord, colors), size=SIZE))
