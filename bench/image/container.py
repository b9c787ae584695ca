"""Runs an image without an engine, from its unpacked filesystem: namespaces by ``unshare``, settings by the image.

    python -m bench.image.container IMAGE [--repository DIR] [--no-network]

As ``docker run --read-only --network none`` would: the image's user, environment, entrypoint and health check; a
read-only root, a tmpfs on /tmp, no capabilities, a process and a network namespace of its own. Needs root and buildah.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from bench.serving.processes import tree

_SETUP = """
set -e
mount --make-rprivate /
mount --bind {image} {root}
mount -o remount,bind,ro {root}
mount -t proc proc {root}/proc
mount -t tmpfs -o mode=755 tmpfs {root}/dev
for device in null zero random urandom full; do
    touch {root}/dev/$device
    mount --bind /dev/$device {root}/dev/$device
done
ln -s /proc/self/fd {root}/dev/fd
mkdir {root}/dev/shm
mount -t tmpfs -o size={shm_bytes},mode=1777 tmpfs {root}/dev/shm
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
{binds}
{loopback}
"""


LOOPBACK_ALONE = {"PRAGMATIQ_ADDRESS": "127.0.0.1", "PRAGMATIQ_METRICS_ADDRESS": "127.0.0.1"}
"""Variables with which nobody but this machine reaches the server, so that it need not know its callers."""


class Container:
    """One container of ``image``, as a context manager.

    Args:
        image: a name that ``buildah images`` knows.
        volumes: folders or files of this machine by their place inside; read-only.
        variables: environment variables beside the image's.
        arguments: what follows the entrypoint.
        log_file: standard output and error are written here.
        network: True keeps this machine's network; False leaves loopback alone, so only ``inside`` reaches the server.
        shm_bytes: size of /dev/shm.
        user: ``UID:GID`` in place of the image's.
    """

    def __init__(
        self,
        image: str,
        *,
        volumes: Mapping[str, Path] | None = None,
        variables: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        log_file: Path | None = None,
        network: bool = False,
        shm_bytes: int = 1 << 30,
        user: str | None = None,
    ) -> None:
        self.image = image
        self.config = image_config(image)
        self._volumes = dict(volumes or {})
        self._variables = dict(variables or {})
        self._arguments = tuple(arguments)
        self._log_file = log_file
        self._network = network
        self._shm_bytes = shm_bytes
        self._user = user or self.config["User"]
        self._cleanup = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            name = _buildah("from", "--pull-never", self.image)
            cleanup.callback(_buildah, "rm", name)
            files = Path(_buildah("mount", name))
            for place, source in self._volumes.items():
                _make_place(files / place.lstrip("/"), source)
            root = cleanup.enter_context(TemporaryDirectory(prefix="container-"))
            output = cleanup.enter_context(self._log_file.open("ab")) if self._log_file else None
            self._process = subprocess.Popen(
                [*self._unshare(), "sh", "-c", self._script(files, Path(root))],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
            )
            cleanup.callback(self._kill)
            self._root = root
            self._await_entrypoint()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cleanup.close()

    @property
    def pid(self) -> int:
        """The entrypoint's process, as this machine numbers it."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(children.read_text(encoding="ascii").split()[0])

    def pids(self) -> list[int]:
        """All processes of the container, as this machine numbers them."""
        return tree(self.pid)

    def ask_to_stop(self) -> None:
        """Send the image's stop signal."""
        os.kill(self.pid, signal.Signals[self.config.get("StopSignal", "SIGTERM")])

    def stop(self, timeout: float) -> int:
        """Send the image's stop signal and wait; the exit code."""
        self.ask_to_stop()
        return self.wait(timeout)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code of the entrypoint; TimeoutExpired if it still runs."""
        assert self._process is not None
        return self._process.wait(timeout)

    def ended(self) -> bool:
        """Whether the entrypoint is gone."""
        assert self._process is not None
        return self._process.poll() is not None

    def inside(self, command: Sequence[str], *, filesystem: bool = True) -> list[str]:
        """``command`` as one to be run in the container; without ``filesystem`` only its network is entered."""
        namespaces = ["--net"] if not filesystem else ["--net", "--mount", "--pid"]
        enter = ["nsenter", "--target", str(self.pid), *namespaces]
        return [*enter, *self._as_user(Path(self._root), command)] if filesystem else [*enter, *command]

    def check_health(self) -> subprocess.CompletedProcess[str]:
        """Run the image's health check once."""
        kind, *command = self.config["Healthcheck"]["Test"]
        assert kind == "CMD", kind
        timeout = self.config["Healthcheck"]["Timeout"] / 1e9
        return subprocess.run(self.inside(command), capture_output=True, encoding="utf-8", timeout=timeout)

    def _await_entrypoint(self) -> None:
        """Return once the entrypoint runs, or has ended."""
        assert self._process is not None
        entrypoint = [*self.config["Entrypoint"], *self._arguments]
        while self._process.poll() is None:
            with suppress(IndexError, FileNotFoundError):
                running = Path(f"/proc/{self.pid}/cmdline").read_text(encoding="utf-8").split("\0")
                if running[:-1] == entrypoint:
                    return
            time.sleep(0.01)

    def _unshare(self) -> list[str]:
        network = [] if self._network else ["--net"]
        return ["unshare", "--mount", "--pid", "--ipc", *network, "--fork"]

    def _script(self, files: Path, root: Path) -> str:
        binds = [
            f"mount --bind {shlex.quote(str(source.absolute()))} {root}{place}; mount -o remount,bind,ro {root}{place}"
            for place, source in self._volumes.items()
        ]
        setup = _SETUP.format(
            image=files,
            root=root,
            shm_bytes=self._shm_bytes,
            binds="\n".join(binds),
            loopback="" if self._network else "ip link set lo up",
        )
        return f"{setup}exec {shlex.join(self._as_user(root, [*self.config['Entrypoint'], *self._arguments]))}"

    def _as_user(self, root: Path, command: Sequence[str]) -> list[str]:
        user, _, group = self._user.partition(":")
        variables = dict(pair.partition("=")[::2] for pair in self.config["Env"]) | self._variables
        environment = [f"{name}={value}" for name, value in variables.items()]
        drop = ["--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
        # chroot comes first, with the right to do it; setpriv is the image's, for Debian has it in every one.
        privileges = ["setpriv", f"--reuid={user}", f"--regid={group}", *drop]
        return ["env", "-i", *environment, "chroot", str(root), *privileges, *command]

    def _kill(self) -> None:
        """End the first process of the namespace, and so all of them; they no longer die with ``unshare``."""
        if self._process is not None and self._process.poll() is None:
            with suppress(IndexError, ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()


def _make_place(place: Path, source: Path) -> None:
    """What ``source`` is to be mounted over."""
    if source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()


def image_config(image: str) -> dict[str, Any]:
    """The image's settings as the Docker format has them: User, Env, Entrypoint, Healthcheck, Labels, ..."""
    config: dict[str, Any] = json.loads(_buildah("inspect", "--type", "image", image))["Docker"]["config"]
    return config


def _buildah(*arguments: str) -> str:
    found = subprocess.run(["buildah", *arguments], capture_output=True, encoding="utf-8")
    if found.returncode:
        raise RuntimeError(f"buildah {' '.join(arguments)}: {found.stderr.strip()}")
    return found.stdout.strip()


def main() -> int:
    """Run the image until it ends or a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--repository", type=Path, help="model repository to mount at /models")
    parser.add_argument("--no-network", action="store_true", help="loopback alone: nothing in or out")
    parser.add_argument("arguments", nargs="*", help="flags for tritonserver, after --")
    options = parser.parse_args()
    volumes = {"/models": options.repository} if options.repository else {}
    with Container(
        options.image,
        volumes=volumes,
        variables=LOOPBACK_ALONE,
        arguments=options.arguments,
        network=not options.no_network,
    ) as container:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: container.ask_to_stop())
        return container.wait()


if __name__ == "__main__":
    sys.exit(main())
