"""JSON arrays that are refused as soon as they are too long, not once a caller's gigabytes of elements were read.

msgspec checks ``Meta(max_length=...)`` when the whole list has been made: 64 MB of ``1,1,1,…`` would take 2 GB. A
struct that is written as an array is left at the first element too many.
"""

from typing import Any

import msgspec


def bounded_list(element: Any, most: int) -> type[msgspec.Struct]:
    """A type that decodes an array of at most ``most`` elements; :func:`elements` gives them."""
    fields = [(f"e{i}", element | msgspec.UnsetType, msgspec.UNSET) for i in range(most)]
    return msgspec.defstruct("BoundedList", fields, array_like=True, forbid_unknown_fields=True, frozen=True)


def elements(found: Any) -> list[Any]:
    """The elements of what :func:`bounded_list` decoded."""
    values = (getattr(found, name) for name in found.__struct_fields__)
    return [value for value in values if value is not msgspec.UNSET]
