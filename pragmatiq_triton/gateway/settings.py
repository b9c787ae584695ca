"""What the gateway is told at its start."""

import msgspec

from pragmatiq_triton.gateway.policy import GatewayPolicy


class Triton(msgspec.Struct, frozen=True):
    """Where Triton listens, and what it and its models' processes alone know.

    ``http`` and ``metrics`` are ``host:port``; ``boards`` is the folder of the files over which it speaks
    with the models past Triton (:mod:`pragmatiq_triton.boards`).
    """

    http: str
    metrics: str
    boards: str | None = None


class GatewaySettings(msgspec.Struct, frozen=True):
    """All of it; who starts the gateway writes it to a file that this account alone can read.

    ``repository`` is the artifact, ``served`` what Triton sees of it, with an operator's settings. A port of 0 is any
    free one; ``metrics_host`` is ``host`` where it is None. ``drain_seconds`` is what calls under
    way have to end once the gateway is told to stop. ``owner`` is the descriptor over which whoever started the gateway
    asks how the models are (:mod:`.owner`); the gateway ends when its owner has. ``access_log_output`` is the
    descriptor that the policy's ``access_log.file`` means by "-".
    """

    repository: str
    served: str
    triton: Triton
    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    drain_seconds: float = 30.0
    policy: GatewayPolicy = GatewayPolicy()
    owner: int | None = None
    access_log_output: int | None = None
    metrics_host: str | None = None
