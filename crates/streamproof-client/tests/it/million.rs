//! The example of a million messages, with fewer.

#[expect(dead_code, unreachable_pub, reason = "an example of its own")]
#[path = "../../examples/million.rs"]
mod example;

use crate::bed::bounded;

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_publisher_and_consumer_nothing_is_missing() {
    let came = bounded("the run", example::run(30_000, 4)).await.unwrap();
    assert!(came.bit > 0 && came.seen == 30_000);
    assert!(came.published.indeterminate() > 0, "no kill hit a publish: {:?}", came.published);
}
