//! Real servers, and every way to get one.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod scratch;
