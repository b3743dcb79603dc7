"""Concerto: features that know what things are, for any point cloud.

`model = concerto.from_pretrained("concerto-tiny")`, then `model(points)`.
"""

from concerto.config import ConcertoConfig
from concerto.errors import (
    CheckpointError,
    ConcertoError,
    ConcertoWarning,
    ConfigError,
    HubError,
    InputError,
    MissingExtraError,
)
from concerto.hierarchy import Hierarchy, Level
from concerto.hub import list_models
from concerto.io import read, write
from concerto.loading import from_pretrained
from concerto.model import Concerto
from concerto.points.normals import estimate_normals
from concerto.points.point_cloud import PointCloud
from concerto.segmenter import Instances, Segmenter, SegmenterConfig
from concerto.visualize.pca import pca_colors

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "Concerto",
    "ConcertoConfig",
    "ConcertoError",
    "ConcertoWarning",
    "ConfigError",
    "Hierarchy",
    "HubError",
    "InputError",
    "Instances",
    "Level",
    "MissingExtraError",
    "PointCloud",
    "Segmenter",
    "SegmenterConfig",
    "estimate_normals",
    "from_pretrained",
    "list_models",
    "pca_colors",
    "read",
    "write",
]
