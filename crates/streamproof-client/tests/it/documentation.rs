//! The documentation names tests that there are.

use std::path::PathBuf;

/// `module::test` is a test in `tests/it/module.rs` or `src/module.rs`; `module::beginning…` is the one that begins like this.
#[test]
fn every_test_that_is_named_is_there() {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(here.join("../../docs/client.md")).unwrap();
    let quoted =
        text.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split('`').skip(1).step_by(2));
    let mut named = 0;
    for name in quoted.filter(|name| name.contains("::")) {
        let (module, test) = name.rsplit_once("::").unwrap();
        if module == "Fault" {
            let faults = std::fs::read_to_string(here.join("tests/it/site.rs")).unwrap();
            assert!(faults.contains(&format!("Fault::{test} => ")), "{name}");
            continue;
        }
        let file = format!("{}.rs", module.replace("::", "/"));
        let text = ["tests/it", "src"]
            .iter()
            .find_map(|dir| std::fs::read_to_string(here.join(dir).join(&file)).ok());
        let text = text.unwrap_or_else(|| panic!("{name}: there is no such module"));
        let found = match test.strip_suffix('…') {
            Some(begins) => text.matches(&format!("fn {begins}")).count(),
            None => text.matches(&format!("fn {test}(")).count(),
        };
        assert_eq!(found, 1, "{name}");
        named += 1;
    }
    assert!(named > 40, "{named} tests are named");
}
