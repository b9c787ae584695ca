"""Requests that mean harm, as bytes on a connection; each generator makes one of its kind."""

import gzip
import json
import random
import zlib
from collections.abc import Callable
from functools import cache

GOOD_RECORD = {"events": [{"ts": 1_700_000_000_000_000, "source": "card", "fields": {"amount": 12.5}}]}
INFER = "/v2/models/scoring/infer"
BOMB = 100 * 1024 * 1024


@cache
def compressed() -> tuple[bytes, bytes, bytes]:
    """100 MB of nothing by gzip, by deflate, and by gzip twice."""
    once = gzip.compress(bytes(BOMB), 1)
    return once, zlib.compress(bytes(BOMB), 1), gzip.compress(once)


def request(path: str, body: bytes, *headers: str, method: str = "POST", length: bool = True) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x", *headers]
    if length:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def inference(**changes: object) -> dict:
    tensor = {"name": "record", "datatype": "BYTES", "shape": [1, 1], "data": [json.dumps(GOOD_RECORD)]}
    return {"inputs": [{**tensor, **changes}]}


def chunks(dice: random.Random) -> bytes:
    body = json.dumps(inference()).encode()
    kind = dice.randrange(8)
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
    one_byte = b"".join(b"1\r\n%c\r\n" % byte for byte in body * dice.choice([1, 40]))
    bodies = [
        one_byte + b"0\r\n\r\n",
        one_byte,
        b"ffffffffffffffff\r\n" + body,
        b"-5\r\n" + body + b"\r\n0\r\n\r\n",
        b"zz\r\n" + body,
        b"5;" + b"a" * dice.choice([10, 40_000]) + b"\r\n{    \r\n0\r\n\r\n",
        b"5\r\n{    \r\n0\r\n" + b"x-trailer: y\r\n" * dice.choice([1, 500]) + b"\r\n",
        b"5\r\n{    0\r\n\r\n",
    ]
    more = dice.choice(["", f"content-length: {len(body)}\r\n", "transfer-encoding: identity\r\n"])
    return (head + more + "\r\n").encode() + bodies[kind]


def lengths(dice: random.Random) -> bytes:
    body = json.dumps(inference()).encode()
    value = dice.choice(["-1", "99999999999999999999", "5, 5", "0x10", "+7", "", " ", "1e3", str(len(body) - 7)])
    more = dice.choice([[], ["content-length: 3"], [f"content-length: {value}"]])
    return request(INFER, body, f"content-length: {value}", *more, length=False)


def bombs(dice: random.Random) -> bytes:
    zipped, deflated, twice = compressed()
    content, coding = dice.choice(
        [
            (zipped, "gzip"), (deflated, "deflate"), (twice, "gzip"), (zipped[:1000], "gzip"), (deflated, "gzip"),
            (b"not compressed", "gzip"), (b"", "gzip"), (gzip.compress(b"{}") * 2, "gzip"), (zipped, "br"),
            (zipped, "gzip, gzip"), (zipped, ""),
        ]
    )  # fmt: skip
    return request(dice.choice([INFER, "/v1/score"]), content, f"content-encoding: {coding}")


SHAPES = [
    [1099511627776, 1], [300_000_000], [300_000_000, 1], [-1, 1], [0, 1], [1, 0], [1, 2], [], [1, 1, 1], [2**63, 1],
    [2**64 + 1, 1], [1.5, 1], ["1", 1], [[1], 1], None, "x", {}, [True, 1], [1e308, 1], [65, 1], [64, 1],
]  # fmt: skip


def shapes(dice: random.Random) -> bytes:
    datatype = dice.choice(["BYTES", "FP32", "INT64", "BOOL", "", "bytes", "X" * 5000, None, 7])
    return request(INFER, json.dumps(inference(shape=dice.choice(SHAPES), datatype=datatype)).encode())


def names(dice: random.Random) -> bytes:
    model = dice.choice(
        ["scorer", "tokenizer", "text_embedder", "scoring%00", "..%2f..%2fetc%2fpasswd", "%ff%fe", "scoring%2e",
         "SCORING", "a" * 20_000, "%s%n", "{{7*7}}", "scoring/versions/2", "scoring/versions/-1", "scoring//", ""]
    )  # fmt: skip
    tail = dice.choice(
        ["/infer", "", "/config", "/stats", "/ready", "/generate", "/versions/1/infer", "/trace/setting"]
    )
    return request(f"/v2/models/{model}{tail}", json.dumps(inference()).encode(), method=dice.choice(["GET", "POST"]))


def administration(dice: random.Random) -> bytes:
    path = dice.choice(
        ["/v2/repository/index", "/v2/repository/models/scoring/unload", "/v2/repository/models/scoring/load",
         "/v2/systemsharedmemory/region/a/register", "/v2/systemsharedmemory/status", "/v2/cudasharedmemory/status",
         "/v2/trace/setting", "/v2/logging", "/metrics", "/v2/models/stats", "/", "//", "/../", "/v1/"]
    )  # fmt: skip
    body = {"key": "/pragmatiq", "offset": 0, "byte_size": 1 << 20, "parameters": {"config": "{}"}}
    return request(path, json.dumps(body).encode(), method=dice.choice(["GET", "POST", "PUT", "DELETE"]))


def parameters(dice: random.Random) -> bytes:
    odd = dice.choice(
        [{"classification": 1}, {"shared_memory_region": "pragmatiq", "shared_memory_byte_size": 1 << 20},
         {"sequence_id": 7, "sequence_start": True}, {"sequence_id": "x"}, {"priority": 2**65}, {"timeout": -1},
         {"timeout": "soon"}, {"timeout": 2**70}, {"timeout": 1}, {"binary_data": True}, {"binary_data_size": -1},
         {"binary_data_size": 2**63}, {"binary_data_size": "x"}, {"binary_data_output": 7},
         {"ticket": 1, "deadline": 1},
         {"canary": True}, {f"p{i}": i for i in range(40_000)}, {"": {}}, {"a": [[[]]]}]
    )  # fmt: skip
    asked = inference()
    where = dice.randrange(3)
    outputs = [{"name": dice.choice(["scores", "tasks", "embedding", "nothing", "", "x" * 9000]), "parameters": odd}]
    if where == 0:
        asked["parameters"] = odd
    elif where == 1:
        asked["inputs"][0]["parameters"] = odd
    else:
        asked["outputs"] = outputs * (dice.choice([1, 2, 400]) if len(odd) < 3 else 1)
    header = dice.choice(["x: y", "inference-header-content-length: 10", "inference-header-content-length: -4",
                          "inference-header-content-length: 99999999999999999999", "x-timeout-ms: 0", "x-timeout-ms: a",
                          "x-request-id: " + "é" * 200, "traceparent: 00-x-y-z", "x-timeout-ms: 1"])  # fmt: skip
    return request(INFER, json.dumps(asked).encode(), header)


def depth(dice: random.Random) -> bytes:
    n = dice.choice([1_000, 40_000, 400_000])
    opened, closed = dice.choice([("[", "]"), ('{"a":', "}")])
    nested = opened * n + ("1" if opened != "[" else "") + dice.choice([closed * n, ""])
    body = dice.choice(
        ['{"inputs":[{"name":"record","datatype":"BYTES","shape":[1,1],"data":%s}]}', '{"inputs":%s}', "%s",
         '{"record":%s}', '{"record":{"events":%s}}', '{"records":[%s]}', '{"parameters":{"a":%s}}']
    ) % nested  # fmt: skip
    return request(dice.choice([INFER, "/v1/score"]), body.encode())


def numbers(dice: random.Random) -> bytes:
    value = dice.choice(["1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1" * 5000, "0." + "0" * 5000 + "1",
                         "-0", "01", "1.", ".5", "+1", "0x1", "1e", "9223372036854775808",
                         "-9223372036854775809"])  # fmt: skip
    body = dice.choice(
        ['{"record":{"events":[{"ts":%s,"source":"a","fields":{}}]}}',
         '{"record":{"events":[{"ts":1700000000000000,"source":"a","fields":{"amount":%s}}]}}',
         '{"record":{"events":[],"as_of":%s}}', '{"record":%s}', '{"records":%s}', '{"record":{},"embedding":%s}']
    ) % value  # fmt: skip
    return request("/v1/score", body.encode())


def duplicates(dice: random.Random) -> bytes:
    good = json.dumps(inference()).encode()
    return dice.choice(
        [
            request(INFER, good[:-1] + b',"inputs":' + json.dumps(inference()["inputs"]).encode() + b"}"),
            request(INFER, good[:-1] + b',"inputs":[]}'),
            request(INFER, json.dumps({"inputs": inference()["inputs"] * dice.choice([2, 3000])}).encode()),
            request(INFER, json.dumps({**inference(), "outputs": [{"name": "scores"}] * 2}).encode()),
            request(INFER, good, f"content-length: {len(good)}"),
            request(INFER, good, "transfer-encoding: chunked"),
            request(INFER, good, "host: y", "host: z"),
            request("/v1/score", b'{"record":{"events":[]},"record":{"events":3}}'),
            request("/v1/score", b'{"record":{"events":[],"events":[]},"records":[]}'),
        ]
    )


def heads(dice: random.Random) -> bytes:
    return dice.choice(
        [
            b"GET /v2 HTTP/0.9\r\n\r\n", b"GET /v2\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00" * 500,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(400), b"GET / HTTP/1.1\nhost: x\n\n",
            b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n", b"G" * 100_000,
            b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5_000, b"GET / HTTP/1.1\r\na\x00: b\r\n\r\n",
            b"GET / HTTP/1.1\r\na: " + b"b" * 200_000, b"GET / HTTP/1.1\r\n a: b\r\n\r\n",
            b"GET http://127.0.0.1:1/v2 HTTP/1.1\r\nhost: x\r\n\r\n", b"TRACE / HTTP/1.1\r\nhost: x\r\n\r\n",
            b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: x\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET /v2 HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: x\r\n\r\n",
            b"POST /v1/score HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
            b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n\r\n" * 200, b"\r\n" * 10_000,
            b"GET /%zz%2 HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET /v2?" + b"a=b&" * 2_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        ]
    )  # fmt: skip


def prefixes(dice: random.Random) -> bytes:
    """A BYTES tensor whose strings do not have the length that they say."""
    binary = dice.choice([b"", b"\x05", b"\xff\xff\xff\xff{}", b"\x00\x00\x00\x00" * 70, b"\x02\x00\x00\x00{}\x01"])
    tensor = {"name": "record", "datatype": "BYTES", "shape": [dice.choice([1, 2, 70]), 1]}
    tensor["parameters"] = {"binary_data_size": dice.choice([len(binary), len(binary) + 1, 0, 2**31])}
    head = json.dumps({"inputs": [tensor]}).encode()
    return request(INFER, head + binary, f"inference-header-content-length: {len(head) + dice.choice([0, 0, 1, -1])}")


def mutations(dice: random.Random) -> bytes:
    """A good request with some of its bytes changed, cut or doubled."""
    good = bytearray(
        dice.choice(
            [request(INFER, json.dumps(inference()).encode()),
             request("/v1/score", json.dumps({"record": GOOD_RECORD, "embedding": True}).encode())]
        )
    )  # fmt: skip
    for _ in range(dice.choice([1, 2, 8, 60])):
        at = dice.randrange(len(good))
        kind = dice.randrange(4)
        if kind == 0:
            good[at] = dice.randrange(256)
        elif kind == 1:
            del good[at : at + dice.randrange(1, 9)]
        elif kind == 2:
            good[at:at] = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 9)))
        else:
            good[at:at] = good[at : at + dice.randrange(1, 60)]
        if not good:
            good = bytearray(b"x")
    return bytes(good)


KINDS: dict[Callable[[random.Random], bytes], int] = {
    chunks: 10, lengths: 8, bombs: 1, shapes: 10, names: 10, administration: 8, parameters: 10, depth: 4, numbers: 10,
    duplicates: 8, heads: 8, prefixes: 10, mutations: 30,
}  # fmt: skip
"""What there is, and how often of a hundred or so."""
