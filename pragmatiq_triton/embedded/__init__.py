"""The real ``tritonserver``, run from a Python wheel: no container, no root, the same command line as the image's."""

from pragmatiq_triton.embedded.environment import ServerEnvironment, find_server_environment
from pragmatiq_triton.embedded.scoring_server import ScoringServer
from pragmatiq_triton.embedded.server import TritonServer

__all__ = ["ScoringServer", "ServerEnvironment", "TritonServer", "find_server_environment"]
