//! Prints the page of known defects: `cargo run -p streamproof-checker --example known_defects > docs/known-defects.md`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(streamproof_checker::known::page().as_bytes())
}
