"""Scores user records on a pragmatiq-triton server, sync or async, over gRPC or HTTP."""

from pragmatiq_client.address import TLS
from pragmatiq_client.client import AsyncScoringClient, ScoringClient
from pragmatiq_client.errors import (
    DeadlineExceededError,
    InvalidRecordError,
    ModelFaultError,
    ProtocolError,
    ScoringError,
    ServerUnavailableError,
)
from pragmatiq_client.moments import micros
from pragmatiq_client.records import Event, Milestone, Record
from pragmatiq_client.wire import Answer, RecordLike

__all__ = [
    "TLS",
    "Answer",
    "AsyncScoringClient",
    "DeadlineExceededError",
    "Event",
    "InvalidRecordError",
    "Milestone",
    "ModelFaultError",
    "ProtocolError",
    "Record",
    "RecordLike",
    "ScoringClient",
    "ScoringError",
    "ServerUnavailableError",
    "micros",
]
