//! Throughput and latency of JetStream, every message counted, the nats CLI beside it.
