"""``python -m pragmatiq_triton.gateway.start_check``: whether a gateway could start with the policy on standard input.

It reads all files and asks the issuer of tokens, as the gateway will, before models are loaded for minutes.
"""

import logging
import sys

import msgspec

from pragmatiq_triton.errors import PragmatiqError
from pragmatiq_triton.gateway.auth import make_authentication
from pragmatiq_triton.gateway.policy import GatewayPolicy
from pragmatiq_triton.gateway.seen.watchers import require_tracing
from pragmatiq_triton.gateway.tls import Certificates


def main() -> int:
    """The exit code of what is wrong, which is the one line that is written; 0 where nothing is."""
    logging.disable()
    policy = msgspec.json.decode(sys.stdin.buffer.read(), type=GatewayPolicy)
    try:
        if policy.tls.certificate:
            Certificates(policy.tls)
        make_authentication(policy.auth, policy.tls)
        if policy.traces.endpoint:
            require_tracing()
    except PragmatiqError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
