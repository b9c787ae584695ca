#!/bin/bash
# Whether the server is ready: ends with 0, or with 1 and the reason. HOST and PORT are those of the metrics.
# Bash alone, since a container runs this every three seconds. Without a gateway a canary of our own goes to Triton.
if [[ ${PRAGMATIQ_GATEWAY:-1} == 0 ]]; then
    exec python -m pragmatiq_triton.probe --timeout 60
fi
host=${1:-${PRAGMATIQ_METRICS_ADDRESS:-127.0.0.1}}
[[ $host == 0.0.0.0 ]] && host=127.0.0.1
# A server that hangs up in the midst of the request is not ready, and no reason to end by a signal.
trap '' PIPE
exec 3<>"/dev/tcp/$host/${2:-8002}" || exit 1
printf 'GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r -d '' answer <&3
: "${answer:=it hung up without an answer}"
[[ $answer == "HTTP/1.1 200 "* ]] || { echo "not ready: ${answer##*$'\r\n\r\n'}"; exit 1; }
