"""`ref-proxy torture`."""
