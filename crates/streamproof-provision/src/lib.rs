//! Look at a JetStream server, carry a plan out, export what is there.
