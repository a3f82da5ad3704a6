"""The test laboratory: real KVM hosts, without machines, in network namespaces.

| module | gives |
|---|---|
| `host` | `LabHost`: libvirtd, firewalld and the packet filters in namespaces of their own |
| `guest` | `LabGuest`: a guest, or an outside machine, on a port of one of the host's bridges |
| `probe` | any frame from one interface, and what arrives of it on another |
| `domain` | a domain for RHEL made startable on the machine that runs the tests |
| `fixtures` | the pytest fixtures |
"""
