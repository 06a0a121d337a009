"""The core: what a pull does when its content is here, and when it is not."""
