"""Put what `make tiny` trained where it ships: concerto-tiny in the package, and beside the
benchmark the encoder that it is compared with. Stored in float16, to keep the wheel small.

Run from the repository's root: python scripts/pack_tiny.py out/tiny
"""

import sys
from pathlib import Path

from concerto import Concerto
from concerto.checkpoints import write_encoder
from concerto.known_models import PACKAGED

ROOT = Path(__file__).parents[1]
PLACES = {
    "joint": ROOT / "concerto" / "assets" / PACKAGED,
    "alone": ROOT / "benchmarks" / "probing" / "alone",
}


def pack(trained: Path) -> None:
    """Write config.json and model.safetensors of each."""
    for name, place in PLACES.items():
        model = Concerto.from_pretrained(trained / name / "model")
        write_encoder(place, model.config, model.half().state_dict())
        print(place.relative_to(ROOT))


if __name__ == "__main__":
    pack(Path(sys.argv[1]))
