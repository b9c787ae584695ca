"""The real ``tritonserver``, run from a Python wheel: no container, no root, the same command line as the image's."""

from pragmatiq_triton.server.environment import ServerEnvironment, find_server_environment
from pragmatiq_triton.server.scoring_server import ScoringServer
from pragmatiq_triton.server.server import TritonServer

__all__ = ["ScoringServer", "ServerEnvironment", "TritonServer", "find_server_environment"]
