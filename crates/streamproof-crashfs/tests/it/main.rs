//! The crate from outside: profiles as tables, and the FUSE filesystem as a program sees it.

#[cfg(all(feature = "fuse", target_os = "linux"))]
mod fuse;
mod profiles;
