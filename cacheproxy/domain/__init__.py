"""Values and decisions: no input or output, no clock, no event loop, standard library only."""
