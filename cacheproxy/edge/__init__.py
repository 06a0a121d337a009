"""HTTP in: the pull API as clients see it."""
