//! The table of known defects and its page.

use streamproof_checker::known::{TABLE, page};

#[test]
fn the_page_of_known_defects_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/known-defects.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        written,
        page(),
        "cargo run -p streamproof-checker --example known_defects > docs/known-defects.md"
    );
}

#[test]
fn every_row_says_where_it_is_and_how_to_see_it_with_the_nats_cli() {
    for defect in TABLE {
        assert!(!defect.versions.is_empty() && !defect.shows.is_empty(), "{}", defect.name);
        assert!(defect.reproduction.contains("nats "), "{}", defect.name);
        assert!(defect.tried.contains("2."), "{}", defect.name);
    }
    let mut names: Vec<&str> = TABLE.iter().map(|defect| defect.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len(), "a project accepts a defect by its name");
}
