"""What all sections of an experiment have in common."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Section"]


class Section(BaseModel):
    """A table of the TOML file: no unknown key passes."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)
