//! Pure: configuration and its rules by server version, the plan, operations and outcomes, failure codes.
//!
//! Nothing here reads a file, a clock or the network: values in, values out.

pub mod bucket;
pub mod desired;
pub mod document;
pub mod duration;
pub mod exported;
pub mod failure;
pub mod fields;
pub mod finding;
pub mod info;
pub mod moment;
pub mod normalize;
pub mod op;
pub mod plan;
pub mod project;
pub mod server_conf;
pub mod settings;
pub mod subject;
pub mod transform;
pub mod validate;
pub mod version;

mod nearest;
mod shape;
