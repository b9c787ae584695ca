"""The door that callers come through: a process of its own in front of Triton, which listens on loopback alone.

A request goes one way: it is read and bounded where it arrives (:mod:`over_http`, :mod:`over_grpc`), waits for its turn
(:mod:`admission`), is sent to Triton as a fresh message of ours (:mod:`triton`), and the answer is written in the
caller's protocol with the names of the scores, the model that gave them and the request's id. Nothing that a caller
wrote reaches Triton but the bytes of records, behind a length that was counted here.
"""
