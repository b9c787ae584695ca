"""What the gateway is told at its start."""

import msgspec


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


class Triton(msgspec.Struct, frozen=True):
    """Where Triton listens, and what it and its models' processes alone know.

    ``http`` and ``metrics`` are ``host:port``; ``given_up`` is the file that says whose callers are gone.
    """

    http: str
    metrics: str
    given_up: str | None = None


class GatewaySettings(msgspec.Struct, frozen=True):
    """All of it; who starts the gateway writes it to a file that this account alone can read.

    A port of 0 is any free one. ``drain_seconds`` is what calls under way have to end once the gateway is told to stop.
    ``owner`` is the descriptor over which whoever started it asks how the models are (:mod:`.owner`); the gateway ends
    when its owner has.
    """

    repository: str
    triton: Triton
    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    drain_seconds: float = 30.0
    limits: Limits = Limits()
    owner: int | None = None
