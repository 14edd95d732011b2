"""The base of every configuration: frozen, closed to unknown keys, documented below its fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Config(BaseModel):
    """A frozen configuration that refuses unknown keys and silent conversions."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


def refuse(at: str, what: str, want: str) -> PydanticCustomError:
    """Return the error that a validator raises: the key below this block, what is wrong, what is right."""
    return PydanticCustomError("refused", "{what}", {"at": at, "what": what, "want": want})
