"""What is asked of every machine of a cluster before a study trusts it: shared folders, equal code, a network."""
