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
from concerto.io import read, write
from concerto.known_models import list_models
from concerto.lifting.camera import Camera
from concerto.lifting.depth_model import DepthModel
from concerto.lifting.frame import Frame, Intrinsics
from concerto.lifting.fusion import Lifter
from concerto.lifting.geometry import Geometry, Views
from concerto.lifting.keyframes import Keyframes
from concerto.lifting.lift import lift
from concerto.lifting.lifted import LiftedCloud
from concerto.lifting.projection import project
from concerto.lifting.stream import Stream
from concerto.lifting.vggt import VGGT
from concerto.loading import from_pretrained
from concerto.model import Concerto
from concerto.points.normals import estimate_normals
from concerto.points.point_cloud import PointCloud
from concerto.segmenter import Instances, Segmenter, SegmenterConfig
from concerto.translator import Translator, TranslatorConfig
from concerto.visualize.pca import pca_colors

__version__ = "0.1.0"

__all__ = [
    "VGGT",
    "Camera",
    "CheckpointError",
    "Concerto",
    "ConcertoConfig",
    "ConcertoError",
    "ConcertoWarning",
    "ConfigError",
    "DepthModel",
    "Frame",
    "Geometry",
    "Hierarchy",
    "HubError",
    "InputError",
    "Instances",
    "Intrinsics",
    "Keyframes",
    "Level",
    "LiftedCloud",
    "Lifter",
    "MissingExtraError",
    "PointCloud",
    "Segmenter",
    "SegmenterConfig",
    "Stream",
    "Translator",
    "TranslatorConfig",
    "Views",
    "estimate_normals",
    "from_pretrained",
    "lift",
    "list_models",
    "pca_colors",
    "project",
    "read",
    "write",
]
