//! The FUSE filesystem: a real server runs on it unchanged, every change goes to the log, reads come from memory.

mod filesystem;
mod mount;
mod stale;

pub use mount::{MountOptions, Recording, Statistics, available};
pub use stale::clean_stale;
