"""Writes the documents of this folder."""

import json
from pathlib import Path

from pragmatiq_triton.api import OPENAPI, RECORD_SCHEMA
from pragmatiq_triton.api.documents import openapi, record_schema

if __name__ == "__main__":
    for name, document in ((OPENAPI, openapi()), (RECORD_SCHEMA, record_schema())):
        Path(__file__).with_name(name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        print(f"written: {name}")
