"""What operators see: logs, metrics, health. Everything here observes; nothing here decides."""
