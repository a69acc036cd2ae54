# SPDX-License-Identifier: Apache-2.0
"""What is measured: SHAPE:KIND, and where it lies. Standard library only."""
from dataclasses import dataclass
from pathlib import Path

from ggml_types import GGML_TYPES, SPELLINGS
from shapes import SHAPES, Shape

FORMAT = 1  # of the made files; raise it when they change, so that old ones are not taken for new ones
GROUPS = {"all-ggml": tuple(GGML_TYPES), "all-hub": tuple(SPELLINGS)}


@dataclass(frozen=True)
class ModelName:
    shape: Shape
    kind: str

    def __str__(self) -> str:
        return f"{self.shape.name}:{self.kind}"

    @property
    def is_hub(self) -> bool:
        return self.kind in SPELLINGS

    @property
    def peer(self) -> "ModelName":
        """What llama.cpp runs beside it: the same file, or of a hub spelling the nearest ggml type."""
        return ModelName(self.shape, SPELLINGS[self.kind].nearest) if self.is_hub else self

    def path(self, folder: Path) -> Path:
        return folder / f"v{FORMAT}" / (f"{self.shape.name}-{self.kind}" + ("" if self.is_hub else ".gguf"))

    def files(self, folder: Path) -> list[Path]:
        path = self.path(folder)
        return sorted(path.iterdir()) if self.is_hub else [path]

    def read_bytes(self, folder: Path) -> int:
        """Bytes of weights in the file that one decoded token reads."""
        if not self.is_hub:
            return GGML_TYPES[self.kind].bytes_of(self.shape.read_weights)
        embedding = 2 * self.shape.vocab * self.shape.hidden  # bf16, of which a token reads one row
        return (self.path(folder) / "model.safetensors").stat().st_size - embedding

    @staticmethod
    def parse(text: str) -> "ModelName":
        shape, _, kind = text.lower().partition(":")
        if shape not in SHAPES:
            raise ValueError(f'model "{text}": shape "{shape}", wanted one of {", ".join(SHAPES)} (as in 110m:q4_0)')
        if kind not in GGML_TYPES and kind not in SPELLINGS:
            raise ValueError(f'model "{text}": kind "{kind}", wanted a ggml type ({" ".join(GGML_TYPES)}) '
                             f'or a hub spelling ({" ".join(SPELLINGS)})')
        return ModelName(SHAPES[shape], kind)

    @staticmethod
    def parse_list(text: str) -> list["ModelName"]:
        """Separated by commas; SHAPE:all-ggml and SHAPE:all-hub stand for many."""
        names: list[ModelName] = []
        for item in filter(None, text.split(",")):
            shape, _, kind = item.partition(":")
            for one in GROUPS.get(kind, (kind,)):
                name = ModelName.parse(f"{shape}:{one}")
                if name not in names:
                    names.append(name)
        if not names:
            raise ValueError(f'models "{text}": none named, wanted some like 110m:q4_0,1b:q4_k')
        return names
