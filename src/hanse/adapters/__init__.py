"""The real ports: what touches processes, disks, sockets and the substrate. Sees only core, wire and identity."""
