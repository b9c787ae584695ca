"""What one request may be, and how much may be under way at once."""

import msgspec

MOST = 2**53
MOST_SECONDS = 1_000_000
MOST_GRPC = 2**31 - 1
"""Beyond these are numbers that neither gRPC nor clocks take, ``.inf`` and ``.nan`` among them."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one request may be, and how much may be under way at once.

    ``max_body_bytes``: of a body or a gRPC message, before and after decompression; larger ones let one caller claim
    more memory. ``max_header_bytes``: of request line and headers. ``max_records``: of a request to ``/v1/score``; a
    KServe request takes the model's batch size. ``header_seconds`` and ``body_seconds``: how long headers and body may
    take to arrive. ``idle_seconds``: how long an open connection may say nothing. ``max_connections``: open ones, of
    all callers. ``request_seconds``: the longest that a caller waits for an answer. ``max_under_way``: requests that
    the models are given at once; more let small requests overtake large ones, and take more memory. ``max_waiting``,
    ``max_waiting_bytes``: requests that wait for that; beyond it callers are told to come back.
    """

    max_body_bytes: int = 64 * 1024 * 1024
    max_header_bytes: int = 32 * 1024
    max_records: int = 1000
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 75.0
    max_connections: int = 10_000
    request_seconds: float = 60.0
    max_under_way: int = 256
    max_waiting: int = 1024
    max_waiting_bytes: int = 512 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            most = MOST_SECONDS if name.endswith("_seconds") else MOST
            if not 0 < getattr(self, name) <= most:
                raise ValueError(f"{name}: expected more than 0 and at most {most:,}, got {getattr(self, name):g}")
        if max(self.max_body_bytes, self.max_header_bytes) > MOST_GRPC:
            raise ValueError(f"max_body_bytes, max_header_bytes: expected at most {MOST_GRPC:,}, as gRPC takes")
