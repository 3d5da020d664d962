"""What all sections of params.yaml share, and the types of their values."""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Values = TypeVar("Values", bound=Sequence[object])


def each_once(values: Values) -> Values:
    """A list in which a value that is there twice would count twice, or run twice; give it to `AfterValidator`.

    Raises:
        ValueError: one is.
    """
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} is there twice; leave one out")
    return values


PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
T = TypeVar("T")
Distinct = Annotated[list[T], Field(min_length=1), AfterValidator(each_once)]
Names = Distinct[Name]
Drawn = Distinct[int | float]
Precision = Literal["fp32", "bf16"]


class Section(BaseModel):
    """What all sections share: no unknown keys, no silent conversions, no changes after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
