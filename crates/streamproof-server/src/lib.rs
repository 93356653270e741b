//! Get nats-server, run it as a process or in Docker, wait until it is ready, stop it. Blocking, no tokio.
//!
//! For tests, a server of their own, ready in some tens of milliseconds and gone when it is dropped:
//!
//! ```no_run
//! let server = streamproof_server::Scratch::new()?;
//! println!("{} answers", server.url());
//! # Ok::<_, streamproof_server::ServerError>(())
//! ```
//!
//! Nothing here prints, and only [`environment`] asks the process's environment, for whom wants that.

pub mod acquire;
mod config;
pub mod container;
pub mod contents;
pub mod disk;
pub mod docker;
pub mod engine;
pub mod environment;
pub mod error;
pub mod image;
pub mod import;
pub mod interrupt;
pub mod monitor;
pub mod node;
pub mod pins;
pub mod poll;
pub mod ports;
pub mod processes;
pub mod ready;
pub mod scratch;
mod spawn;
pub mod stores;
pub mod tool;
pub mod wire;

pub use acquire::{Binary, Wanted, acquire};
pub use engine::{Choice, Engine};
pub use environment::Sources;
pub use error::ServerError;
pub use pins::{PINNED, Source, Target};
pub use scratch::Scratch;
pub use streamproof_model::version::Version;
