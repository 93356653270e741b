//! A stream on a server of its own, and its info as it can be pinned in a test: the same in every run.
//!
//! `cargo run -p streamproof --example pinned_info`

use streamproof::connect::Connect;
use streamproof::model::info::stream_info;
use streamproof::provision::{Js, inspect};
use streamproof::server::Scratch;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Scratch::new()?;
    let client = Connect::to(server.url()).client().await?;
    let js = Js::new(client);
    // What your own program makes; here by hand.
    let config =
        serde_json::json!({"name": "ORDERS", "subjects": ["orders.*"], "max_age": 3_600_000_000_000u64});
    js.request("STREAM.CREATE.ORDERS", &config).await?;

    let info = stream_info(&inspect::stream(&js, "ORDERS").await?);
    // With `insta` this line would be `assert_json_snapshot!(info)`.
    assert_eq!(info["config"]["duplicate_window"], 120_000_000_000u64, "the server's default");
    assert_eq!(info["state"]["messages"], 0);
    #[expect(clippy::print_stdout, reason = "an example shows what it made")]
    {
        println!("{info:#}");
    }
    Ok(())
}
