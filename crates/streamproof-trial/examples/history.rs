//! Prints a stored history as JSON lines: `cargo run -p streamproof-trial --example history -- FILE`.

use std::fs::File;
use std::io::{BufReader, Write};

use streamproof_model::op::{Reader, to_jsonl};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a .history file")?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for record in Reader::new(BufReader::new(File::open(path)?))? {
        writeln!(out, "{}", to_jsonl(&record))?;
    }
    Ok(())
}
