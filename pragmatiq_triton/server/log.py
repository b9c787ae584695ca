"""What a server's log says about why it did not start, or ended."""

import re
import signal

from pragmatiq_triton.keeper.__main__ import GATEWAY_PREFIX

# `E1122 13:31:27.321533 5924 model_lifecycle.cc:642] "failed to load ..."`, or a last `error: creating server: ...`.
_ERROR_LINE = re.compile(r'^(?:E\d{4} \S+\s+\d+ \S+\] "?|error: )(?P<message>.*?)"?\s*$', re.MULTILINE)
_CAUSES = ("failed to load '", "Poll failed for", "failed to start ")
_NOISE = ("CudaDriverHelper",)


def failure_reason(log: str, tail: int = 5) -> str:
    """The errors that stopped the server: models that did not load, services that did not start.

    Without any such line, the last ``tail`` errors; without errors, the last ``tail`` lines. Triton writes a Python
    exception as one line with escaped line breaks; here it has real ones again.
    """
    messages = [match["message"].replace("\\n", "\n").strip() for match in _ERROR_LINE.finditer(log)]
    errors = [message for message in messages if not message.startswith(_NOISE)]
    causes = [message for message in errors if message.startswith(_CAUSES)]
    return "\n".join(causes or errors[-tail:] or log.strip().splitlines()[-tail:])


def gateway_reason(log: str, tail: int = 5) -> str:
    """Why the gateway ended: of an error that it had foreseen the message, else its last ``tail`` lines."""
    prefix = GATEWAY_PREFIX.decode()
    lines = [line.removeprefix(prefix) for line in log.splitlines() if line.startswith(prefix)]
    foreseen = lines[-1:] and lines[-1].startswith("error: ")
    return lines[-1].removeprefix("error: ") if foreseen else "\n".join(lines[-tail:])


def address_in_use(log: str) -> bool:
    """Whether a service found its port taken."""
    return re.search(r"failed to start .* already in use", log) is not None


def end_of(code: int) -> str:
    """How a process ended, by ``subprocess``'s return code."""
    if code >= 0:
        return f"exit code {code}"
    known = {each.value: each.name for each in signal.Signals}
    return f"{known[-code]} (signal {-code})" if -code in known else f"signal {-code}"
