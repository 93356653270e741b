//! A trial against real servers: histories are complete, and each fault leaves the proof that it bit.

mod cases;
