//! The whole from outside.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod known_defects;
