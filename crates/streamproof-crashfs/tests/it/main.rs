//! The crate from outside: profiles as tables, and the FUSE filesystem as a program sees it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

#[cfg(all(feature = "fuse", target_os = "linux"))]
mod changes;
#[cfg(all(feature = "fuse", target_os = "linux"))]
mod docker;
#[cfg(all(feature = "fuse", target_os = "linux"))]
mod fuse;
#[cfg(all(feature = "real", target_os = "linux"))]
mod kernel;
#[cfg(all(any(feature = "fuse", feature = "real"), target_os = "linux"))]
mod nats;
mod profiles;
#[cfg(all(feature = "real", target_os = "linux"))]
mod real;
#[cfg(all(feature = "fuse", target_os = "linux"))]
mod server;
#[cfg(all(feature = "fuse", target_os = "linux"))]
mod stale;
