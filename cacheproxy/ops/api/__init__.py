"""The admin API: what operators read and do, over HTTP."""
