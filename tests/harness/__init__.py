"""What the end-to-end tests, tests/flights, tests/librdkafka and bench/ share: servers, clients and tools as processes."""
