"""A class for each point: an encoder, a head, and the names of its classes."""

from concerto.segmenter.config import SegmenterConfig
from concerto.segmenter.model import Instances, Segmenter

__all__ = ["Instances", "Segmenter", "SegmenterConfig"]
