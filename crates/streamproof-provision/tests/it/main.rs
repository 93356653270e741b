//! Plans, their carrying out and exports, against real servers of every supported line.

mod ground;
mod lines;
mod random;
mod replacement;
mod steps;
