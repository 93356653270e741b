//! Every command's help, pinned.

use std::process::Command;

fn help(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).env("NO_COLOR", "1").output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// The commands as the help lists them.
pub(crate) fn commands() -> Vec<String> {
    let text = help(&["--help"]);
    let from = text.find("Commands:").unwrap();
    text[from..]
        .lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

#[test]
fn every_command_has_its_help_pinned() {
    insta::assert_snapshot!("help", help(&["--help"]));
    let commands = commands();
    assert!(commands.len() >= 20, "{commands:?}");
    for command in commands {
        // `nats --help` is the nats CLI's own.
        if command != "nats" {
            insta::assert_snapshot!(format!("help-{command}"), help(&[&command, "--help"]));
        }
    }
}

#[test]
fn a_wrong_flag_ends_with_2_and_a_hint() {
    let out = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["up", "--prot", "1"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(out.stdout.is_empty());
    assert!(String::from_utf8_lossy(&out.stderr).contains("--port"));
}

#[test]
fn without_a_command_the_help_is_printed() {
    let out = Command::new(env!("CARGO_BIN_EXE_xtask")).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("Commands:"));
}
