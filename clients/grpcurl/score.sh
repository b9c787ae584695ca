#!/usr/bin/env bash
# Score user records over gRPC with grpcurl and jq.
#
#   PROTO_DIR=common/protobuf clients/grpcurl/score.sh RECORDS.jsonl [HOST:PORT]
#
# RECORDS.jsonl holds one JSON record per line, at most as many as the model's max_batch_size.
# HOST:PORT is the server's gRPC service, localhost:8001 by default.
# PROTO_DIR is the folder with Triton's grpc_service.proto and model_config.proto (the server has no reflection):
#
#   git clone --depth 1 https://github.com/triton-inference-server/common
#
# Prints one line of JSON per output: its name, its shape and what is in it. Numbers travel as little-endian float32,
# the names of the scores (`tasks`) each behind its length.
# A record that cannot be scored ends with InvalidArgument and its reason on stderr.
set -euo pipefail

records=${1:?usage: score.sh RECORDS.jsonl [HOST:PORT]}
server=${2:-localhost:8001}
proto_dir=${PROTO_DIR:-common/protobuf}

# bytes fields are base64 in the JSON form of protobuf.
jq --raw-input --null-input --compact-output '
  [inputs | select(test("\\S"))]
  | {
      model_name: "scoring",
      inputs: [{name: "record", datatype: "BYTES", shape: [length, 1], contents: {bytes_contents: map(@base64)}}]
    }
' "$records" |
  grpcurl -plaintext -max-time 5 -import-path "$proto_dir" -proto grpc_service.proto -d @ \
    "$server" inference.GRPCInferenceService/ModelInfer |
  python3 -c '
import base64, json, struct, sys

def strings(raw):
    while raw:
        (size,), raw = struct.unpack("<I", raw[:4]), raw[4:]
        yield raw[:size].decode()
        raw = raw[size:]

def numbers(raw):
    return (value for value, in struct.iter_unpack("<f", raw))

response = json.load(sys.stdin)
for output, raw in zip(response["outputs"], response["rawOutputContents"]):
    read = strings if output["datatype"] == "BYTES" else numbers
    values = list(read(base64.b64decode(raw)))
    print(json.dumps({"name": output["name"], "shape": [int(n) for n in output["shape"]], "data": values}))
'
