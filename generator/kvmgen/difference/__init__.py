"""What a change of the inventory does to the hosts, told by meaning."""
