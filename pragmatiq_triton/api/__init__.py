"""The REST API described for programs: an OpenAPI document, and the JSON Schema of a record.

``python -m pragmatiq_triton.api`` writes both anew from the code that reads requests; the gateway serves them.
"""

from importlib.resources import files

OPENAPI = "openapi.json"
RECORD_SCHEMA = "record.schema.json"


def read_document(name: str) -> bytes:
    """The document's JSON."""
    return files(__name__).joinpath(name).read_bytes()
