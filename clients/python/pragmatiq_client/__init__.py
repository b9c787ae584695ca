"""Scores user records on a pragmatiq-triton server, sync or async, over gRPC or HTTP."""

from pragmatiq_client.client import AsyncScoringClient, ScoringClient
from pragmatiq_client.errors import (
    DeadlineExceededError,
    InvalidRecordError,
    ModelFaultError,
    ProtocolError,
    ScoringError,
    ServerUnavailableError,
)
from pragmatiq_client.wire import Answer, Record

__all__ = [
    "Answer",
    "AsyncScoringClient",
    "DeadlineExceededError",
    "InvalidRecordError",
    "ModelFaultError",
    "ProtocolError",
    "Record",
    "ScoringClient",
    "ScoringError",
    "ServerUnavailableError",
]
