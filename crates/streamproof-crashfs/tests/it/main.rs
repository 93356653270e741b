//! The crate from outside: profiles as tables, and the FUSE filesystem as a program sees it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

#[cfg(all(feature = "fuse", target_os = "linux"))]
mod fuse;
mod profiles;
