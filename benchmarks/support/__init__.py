"""What several benchmarks stand on: recorded calls, a durable server, daemons, statements overheard."""
