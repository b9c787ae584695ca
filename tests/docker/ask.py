"""Score the records of a file and print the answers as JSON; run inside a container's network.

python tests/docker/ask.py PROTOCOL URL RECORDS.jsonl
"""

import json
import sys
from pathlib import Path

from pragmatiq_client import ScoringClient

if __name__ == "__main__":
    protocol, url, records = sys.argv[1:]
    with ScoringClient(url, protocol=protocol, timeout=30) as client:
        answers = client.score(Path(records).read_bytes().splitlines())
    print(json.dumps([{"scores": answer.scores, "embedding": answer.embedding.tolist()} for answer in answers]))
