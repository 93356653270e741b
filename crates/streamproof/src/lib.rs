//! A persistent JetStream for development, its streams as files, and the proof that they survive.
