//! Real servers, both engines, and every way to get one.
mod scratch;
