#!/usr/bin/env bash
# Score user records over HTTP with curl and jq.
#
#   clients/curl/score.sh RECORDS.jsonl [HOST:PORT]
#
# RECORDS.jsonl holds one JSON record per line, at most as many as the model's max_batch_size.
# HOST:PORT is the server's HTTP service, localhost:8000 by default.
# Prints Triton's JSON answer: `scores` [n, n_tasks], their names `tasks` [n, n_tasks] and `embedding` [n, dim], row by
# row in `data`.
# A record that cannot be scored gives HTTP 400, its reason on stdout, and exit code 22.
set -euo pipefail

records=${1:?usage: score.sh RECORDS.jsonl [HOST:PORT]}
server=${2:-localhost:8000}

# Lines are passed on as the strings they are, so numbers keep their spelling.
jq --raw-input --null-input --compact-output '
  [inputs | select(test("\\S"))]
  | {inputs: [{name: "record", datatype: "BYTES", shape: [length, 1], data: .}]}
' "$records" |
  curl --silent --show-error --fail-with-body --max-time 5 \
    --header 'Content-Type: application/json' --data-binary @- \
    "http://$server/v2/models/scoring/infer"
echo
