#!/bin/sh
# Scores a record over the gateway's REST API:
#
#     score_rest.sh http://localhost:8000 record.json [--data of your own for curl, such as --cacert ca.pem]
#
# The key of the caller, if the gateway wants one, is read from PRAGMATIQ_API_KEY.
set -eu
url=$1 record=$2
shift 2
{
    printf '{"record": '
    cat "$record"
    printf '}'
} | curl --silent --show-error --fail-with-body --max-time 10 \
    --header 'content-type: application/json' \
    --header "authorization: Bearer ${PRAGMATIQ_API_KEY:-}" \
    --data-binary @- "$@" "$url/v1/score"
echo
