"""Asking a scan in words: features carried by one linear map to where texts live."""

from concerto.translator.config import TranslatorConfig
from concerto.translator.model import Segments, Translator
from concerto.translator.regions import Region
from concerto.translator.texts import SCENE_TEMPLATES
from concerto.translator.towers import OpenClipTower, SentenceTower, TextTower

__all__ = [
    "SCENE_TEMPLATES",
    "OpenClipTower",
    "Region",
    "Segments",
    "SentenceTower",
    "TextTower",
    "Translator",
    "TranslatorConfig",
]
