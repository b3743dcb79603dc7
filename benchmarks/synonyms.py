"""Other words for what is in rooms: none of them is the name of a class in training."""

from __future__ import annotations

# Words that mean the same, as dictionaries have it, or what such a thing is made of or sold as;
# none that names another thing as well. Several for each class, so that no single odd word decides.
# A class that is not here is asked for by its own name alone.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "wall": ("brick wall", "painted wall"),
    "floor": ("flooring", "parquet"),
    "ceiling": ("ceiling panels", "overhead surface"),
    "door": ("doorway", "entrance"),
    "window": ("window pane", "glass pane"),
    "curtain": ("drapes", "window blind"),
    "cabinet": ("cupboard", "wardrobe"),
    "shelf": ("bookcase", "shelving unit"),
    "bookshelf": ("bookcase", "shelving unit"),
    "bed": ("mattress", "bunk"),
    "chair": ("seat", "dining chair"),
    "sofa": ("couch", "settee"),
    "table": ("dining table", "tabletop"),
    "desk": ("writing desk", "workstation"),
    "lamp": ("lampshade", "lantern"),
    "screen": ("monitor", "television"),
    "picture": ("painting", "framed photo"),
    "rug": ("mat", "floor mat"),
    "plant": ("houseplant", "potted flower"),
    "sink": ("washbasin", "basin"),
    "toilet": ("lavatory", "water closet"),
    "bathtub": ("bath", "tub"),
    "stove": ("cooker", "kitchen range"),
    "fridge": ("refrigerator", "icebox"),
    "refrigerator": ("fridge", "icebox"),
    "books": ("novels", "stack of books"),
    "box": ("carton", "package"),
    "pillow": ("cushion", "throw cushion"),
    "clutter": ("odds and ends", "small objects"),
}
