//! Crash states of a data directory, and the FUSE filesystem that records what they are made from.
