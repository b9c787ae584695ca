"""What both protocols check of tensors and parameters that come in."""

import struct

from pragmatiq_triton.gateway.errors import MalformedError
from pragmatiq_triton.gateway.identity import MOST_USERS

MOST_PARAMETERS = 64
REFUSED_PARAMETERS = {
    "classification": "scores are probabilities already",
    "shared_memory_region": "tensors come in the message",
    "sequence_id": "the models keep no sequences",
}
"""Parameters of the protocol that change what is answered, and why they are refused; others are not looked at."""


def read_bytes_tensor(raw: memoryview) -> list[bytes]:
    """The strings of a BYTES tensor: each a length (uint32, little endian) and that many bytes.

    Raises:
        MalformedError: the lengths do not add up, or there are more strings than a request may have.
    """
    documents: list[bytes] = []
    at = 0
    while at < len(raw):
        end = at + 4 + (struct.unpack_from("<I", raw, at)[0] if at + 4 <= len(raw) else len(raw))
        if end > len(raw) or len(documents) == MOST_USERS:
            raise MalformedError("inputs[0]: the lengths of the strings do not add up to the tensor's")
        documents.append(bytes(raw[at + 4 : end]))
        at = end
    return documents
