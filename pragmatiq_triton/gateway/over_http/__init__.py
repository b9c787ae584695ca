"""HTTP: connections and what they may do, bodies, the KServe protocol and the plain REST one."""
