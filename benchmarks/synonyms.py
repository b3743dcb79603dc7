"""Other words for what is in rooms: none of them is the name of a class in training."""

from __future__ import annotations

# Several for each class, so that no single odd word decides. A class that is not here is asked for
# by its own name alone.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "wall": ("brick wall", "painted wall"),
    "floor": ("carpet", "parquet", "ground"),
    "ceiling": ("roof", "overhead surface"),
    "door": ("doorway", "entrance"),
    "window": ("window pane", "glass pane"),
    "curtain": ("drapes", "window blind"),
    "cabinet": ("cupboard", "wardrobe"),
    "shelf": ("rack", "shelving unit"),
    "bookshelf": ("bookcase", "shelving unit"),
    "bed": ("mattress", "bunk"),
    "chair": ("seat", "armchair", "stool"),
    "sofa": ("couch", "settee"),
    "table": ("dining table", "tabletop"),
    "desk": ("writing desk", "workstation"),
    "lamp": ("light", "lantern"),
    "screen": ("monitor", "television"),
    "picture": ("painting", "framed photo"),
    "rug": ("mat", "floor mat"),
    "plant": ("houseplant", "potted flower"),
    "sink": ("washbasin", "basin"),
    "toilet": ("lavatory", "water closet"),
    "bathtub": ("bath", "tub"),
    "stove": ("cooker", "oven"),
    "fridge": ("refrigerator", "freezer"),
    "refrigerator": ("fridge", "freezer"),
    "books": ("novels", "stack of books"),
    "box": ("carton", "package"),
    "pillow": ("cushion", "headrest"),
    "clutter": ("odds and ends", "small objects"),
}
