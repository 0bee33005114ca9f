"""librdkafka's own test suite against a broker."""
