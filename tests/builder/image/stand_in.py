"""A stand-in for a Docker engine: the few endpoints that a build needs, on a unix socket, noting what they are sent."""

import io
import json
import re
import socketserver
import tarfile
import tempfile
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

DROP = object()
"""In a script: the engine dies."""
HANG = object()
"""In a script: a step that goes on until the client is gone."""


@dataclass
class Build:
    """What came with one build."""

    query: dict[str, str]
    archive: bytes

    @property
    def members(self):
        with tarfile.open(fileobj=io.BytesIO(self.archive)) as tar:
            return {member.name: member for member in tar}

    def read(self, name):
        with tarfile.open(fileobj=io.BytesIO(self.archive)) as tar:
            return tar.extractfile(name).read()

    @property
    def dockerfile(self):
        return self.read(self.query["dockerfile"]).decode()

    @property
    def build_args(self):
        return json.loads(self.query.get("buildargs", "{}"))


@dataclass
class StandIn:
    """``script``, where there is one, is what the next builds stream: events, or one of the marks above."""

    address: str = ""
    script: list | None = None
    refusal: str | None = None
    builds: list[Build] = field(default_factory=list)
    hangs: threading.Event = field(default_factory=threading.Event)
    left_alone: threading.Event = field(default_factory=threading.Event)

    def events(self, build):
        """A build of which every step does well, but one that copies what was not sent."""
        steps = re.sub(r"\\\n\s*", " ", build.dockerfile).splitlines()
        steps = [step for step in steps if step and not step.startswith("#")]
        for number, step in enumerate(steps, 1):
            yield {"stream": f"Step {number}/{len(steps)} : {step}"}
            yield {"stream": "\n"}
            word, _, rest = step.partition(" ")
            wanted = rest.split()[0].rstrip("/")
            if word == "COPY" and not wanted.startswith("--") and wanted != "." and wanted not in build.members:
                message = f"COPY failed: file not found in build context: stat {wanted}: file does not exist"
                yield {"errorDetail": {"message": message}, "error": message}
                return
            yield {"stream": f" ---> {number:012x}\n"}
        yield {"aux": {"ID": f"sha256:{len(self.builds):064x}"}}
        yield {"stream": f"Successfully built {len(self.builds):012x}\n"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "the client"

    def log_message(self, *_):
        pass

    def do_GET(self):
        engine = self.server.engine
        if self.path.endswith("/version"):
            self._answer({"ApiVersion": "1.41", "Version": "stand-in"})
        elif found := re.search(r"/images/0*(\d+)/json$", self.path):
            build = engine.builds[int(found[1]) - 1]
            tags = [build.query["t"]] if "t" in build.query else []
            self._answer({"Id": f"sha256:{found[1]:0>64}", "RepoTags": tags, "Size": len(build.archive)})
        else:
            self._answer({"message": f"no such endpoint: {self.path}"}, 404)

    def do_POST(self):
        engine = self.server.engine
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        build = Build(query, b"".join(self._chunks()))
        engine.builds.append(build)
        if engine.refusal:
            self._answer({"message": engine.refusal}, 400)
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in engine.script or engine.events(build):
            if event is HANG:
                engine.hangs.set()
                with suppress(ConnectionError):
                    self.connection.recv(1)
                engine.left_alone.set()
            if event is DROP or event is HANG:
                self.close_connection = True
                return
            self._chunk(json.dumps(event).encode() + b"\r\n")
        self._chunk(b"")

    def _chunks(self):
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _chunk(self, content):
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.flush()

    def _answer(self, body, status=200):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that goes away in the middle is no news."""


@contextmanager
def stand_in_engine():
    """A running stand-in; its ``address`` is what DOCKER_HOST takes."""
    # A socket's path may have a hundred characters only.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "engine.sock")
        with _Server(str(path), _Handler) as server:
            server.engine = StandIn(f"unix://{path}")
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield server.engine
            finally:
                server.shutdown()
                thread.join()
