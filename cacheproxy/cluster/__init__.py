"""Several replicas as one cache: who is there, who has what, who fetches it, and how to ask."""
