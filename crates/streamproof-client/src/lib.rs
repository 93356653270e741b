//! Publish, consume and ack on JetStream at the server's speed, with nothing unaccounted for.
