//! The examples run, to their end.

#[path = "../../examples/consume.rs"]
mod consume;
#[path = "../../examples/fast_batch.rs"]
mod fast_batch;
#[path = "../../examples/publish.rs"]
mod publish;
#[path = "../../examples/worker.rs"]
mod worker;

#[test]
fn publishing() {
    publish::main().unwrap();
}

#[test]
fn fast_batches() {
    fast_batch::main().unwrap();
}

#[test]
fn consuming() {
    consume::main().unwrap();
}

#[test]
fn working() {
    worker::main().unwrap();
}
