//! Each rule of each profile: a log in the text notation, and the tree that a crash at its end leaves.

use streamproof_crashfs::{Cut, Disk, Places, Profile, Rules, early_commits, explore, notation, state};

/// The tree after the last operation, on one line.
fn after(text: &str, rules: Rules) -> String {
    let log = notation::parse(text).unwrap();
    let cut = Cut::after(&log, log.entries().len());
    state(&log, cut, rules).render(&log).trim_end().replace('\n', "; ")
}

fn table(text: &str, rows: &[(Profile, &str)]) {
    for (profile, expected) in rows {
        assert_eq!(after(text, Rules::new(*profile)), *expected, "profile {profile}:\n{text}");
    }
}

#[test]
fn what_is_not_synced_is_lost() {
    table(
        "create a\nwrite a 0 hello",
        &[(Profile::Strict, ""), (Profile::Path, ""), (Profile::Ext4, ""), (Profile::Lazyfs, "a \"\"")],
    );
}

#[test]
fn a_sync_of_a_file_is_not_one_of_its_name() {
    table(
        "mkdir d\ncreate d/a\nwrite d/a 0 hello\nfsync d/a",
        &[
            (Profile::Strict, ""),
            (Profile::Path, "d/; d/a \"hello\""),
            (Profile::Ext4, "d/; d/a \"hello\""),
            (Profile::Lazyfs, "d/; d/a \"hello\""),
        ],
    );
    table(
        "create a\nwrite a 0 hello\nfsync a\nfsyncdir .",
        &[(Profile::Strict, "a \"hello\""), (Profile::Path, "a \"hello\""), (Profile::Ext4, "a \"hello\"")],
    );
}

#[test]
fn ext4_commits_everybodys_names_and_nobody_elses_bytes() {
    table(
        "create other\nwrite other 0 bytes\ncreate a\nwrite a 0 hello\nfsync a",
        &[
            (Profile::Path, "a \"hello\""),
            (Profile::Ext4, "a \"hello\"; other \"\""),
            (Profile::Lazyfs, "a \"hello\"; other \"\""),
        ],
    );
}

#[test]
fn a_sync_of_an_unchanged_file_commits_nothing() {
    table(
        "create a\nwrite a 0 x\nfsync a\ncreate b\nfsync a",
        &[(Profile::Ext4, "a \"x\""), (Profile::Path, "a \"x\"")],
    );
    table(
        "create a\nwrite a 0 x\nfsync a\nrename a b\nfdatasync b",
        &[(Profile::Ext4, "a \"x\""), (Profile::Path, "b \"x\"")],
    );
}

#[test]
fn a_replacing_rename_takes_its_bytes_along_on_ext4() {
    let text = "create a\nwrite a 0 old\nfsync a\nfsyncdir .\ncreate t\nwrite t 0 new\nrename t a\n";
    table(text, &[(Profile::Strict, "a \"old\""), (Profile::Ext4, "a \"old\""), (Profile::Lazyfs, "a \"\"")]);
    // The blocks are got and the bytes are under way, and nobody waits for them: they are there a moment later.
    table(&format!("{text}fsyncdir ."), &[(Profile::Ext4, "a \"\\x00\\x00\\x00\"")]);
    table(
        &format!("{text}at 1s\nfsyncdir ."),
        &[(Profile::Strict, "a \"\""), (Profile::Ext4, "a \"new\""), (Profile::Lazyfs, "a \"\"")],
    );
}

#[test]
fn a_rename_that_replaces_nothing_leaves_the_bytes_behind() {
    table(
        "create t\nwrite t 0 new\nrename t a\nfsyncdir .",
        &[(Profile::Ext4, "a \"\""), (Profile::Strict, "a \"\"")],
    );
}

#[test]
fn a_file_truncated_to_nothing_is_flushed_when_it_is_closed() {
    let text = "create a\nwrite a 0 old\nfsync a\ntruncate a 0\nwrite a 0 new\n";
    table(&format!("{text}create b\nfsync b"), &[(Profile::Ext4, "a \"\"; b \"\"")]);
    table(&format!("{text}close a\nat 1s\ncreate b\nfsync b"), &[(Profile::Ext4, "a \"new\"; b \"\"")]);
}

#[test]
fn an_append_in_a_block_that_is_there_leaves_zeros() {
    table(
        "create a\nwrite a 0 abc\nfsync a\nappend a def\ncreate b\nfsync b",
        &[(Profile::Ext4, "a \"abc\\x00\\x00\\x00\"; b \"\""), (Profile::Path, "a \"abc\"; b \"\"")],
    );
}

#[test]
fn the_clock_commits_after_five_seconds_and_writes_back_after_thirty() {
    let text = "create a\nwrite a 0 hello\nmkdir d\n";
    table(&format!("{text}at 4s\nclose a"), &[(Profile::Ext4, "")]);
    table(&format!("{text}at 6s\nclose a"), &[(Profile::Ext4, "a \"\"; d/"), (Profile::Strict, "")]);
    table(
        &format!("{text}at 41s\nclose a"),
        &[(Profile::Ext4, "a \"hello\"; d/"), (Profile::Lazyfs, "a \"\"; d/")],
    );
}

#[test]
fn a_removal_that_is_not_synced_comes_back() {
    let text = "create a\nwrite a 0 x\nfsync a\nfsyncdir .\nunlink a\n";
    table(
        text,
        &[
            (Profile::Strict, "a \"x\""),
            (Profile::Path, "a \"x\""),
            (Profile::Ext4, "a \"x\""),
            (Profile::Lazyfs, ""),
        ],
    );
    table(&format!("{text}fsyncdir ."), &[(Profile::Strict, ""), (Profile::Path, ""), (Profile::Ext4, "")]);
}

#[test]
fn a_move_between_directories_is_atomic() {
    let text = "mkdir d\nmkdir e\nfsyncdir .\ncreate d/a\nfsync d/a\nfsyncdir d\nrename d/a e/b\n";
    table(text, &[(Profile::Strict, "d/; d/a \"\"; e/")]);
    table(&format!("{text}fsyncdir d"), &[(Profile::Strict, "d/; e/; e/b \"\"")]);
    table(&format!("{text}fsyncdir e"), &[(Profile::Strict, "d/; e/; e/b \"\"")]);
}

#[test]
fn a_synchronous_write_is_a_sync_of_what_it_wrote() {
    table(
        "create a\nowrite a 0 hello",
        &[(Profile::Path, "a \"hello\""), (Profile::Ext4, "a \"hello\""), (Profile::Lazyfs, "a \"hello\"")],
    );
}

#[test]
fn a_lying_disk_loses_what_was_synced_and_a_durable_one_keeps_all() {
    let text = "create a\nwrite a 0 x\nfsync a\nfsyncdir .";
    for profile in [Profile::Strict, Profile::Path, Profile::Ext4] {
        assert_eq!(after(text, Rules::new(profile).with_disk(Disk::Lying)), "", "{profile}");
        let durable = after("create a\nwrite a 0 x", Rules::new(profile).with_disk(Disk::Durable));
        assert_eq!(durable, "a \"x\"", "{profile}");
    }
}

#[test]
fn torn_keeps_what_was_synced_and_is_a_function_of_the_seed() {
    let text = "create a\nwrite a 0 x*4096\nfsync a\nappend a y*8192";
    let rules = |seed| Rules::new(Profile::Torn).with_seed(seed);
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let tree = after(text, rules(seed));
        assert!(tree.contains(&"x".repeat(4096)), "a synced page is gone with seed {seed}");
        assert_eq!(tree, after(text, rules(seed)));
        kinds.insert(tree);
    }
    assert_eq!(kinds.len(), 4, "two dirty pages make four states");
}

/// The pass over the whole log and the single state must agree, whatever the profile.
#[test]
fn every_state_is_found_again_at_its_own_cut() {
    let text = "mkdir d\ncreate d/a\nwrite d/a 0 one\nfsync d/a\ncreate d/t\nwrite d/t 0 two\nat 7s\nrename d/t d/a\n\
                fsyncdir d\nat 50s\nappend d/a three\nunlink d/a\nat 60s\ncreate d/b\nfsync d/b";
    let log = notation::parse(text).unwrap();
    let all: Vec<Cut> = (0..=log.entries().len()).map(|ops| Cut::after(&log, ops)).collect();
    for profile in [Profile::Strict, Profile::Path, Profile::Ext4, Profile::Lazyfs] {
        let rules = Rules::new(profile);
        let states = streamproof_crashfs::states(&log, &all, rules);
        for s in &states {
            assert_eq!(state(&log, s.cut, rules).id(), s.id, "{profile}: {s:?}");
            assert_eq!(state(&log, s.asked, rules).id(), s.id, "{profile}: {s:?}");
            assert!(s.asked <= s.cut, "{profile}: {s:?}");
        }
        let single: std::collections::HashSet<_> = all.iter().map(|c| state(&log, *c, rules).id()).collect();
        assert_eq!(states.len(), single.len(), "{profile}");
    }
}

/// What nobody synced may be on the disk all the same: the journal is everybody's.
#[test]
fn a_commit_for_another_programs_sync_leaves_a_state_of_its_own_until_the_next_sync() {
    let text = "mkdir m\ncreate m/a\nwrite m/a 0 one\nfsync m/a\n\
                rename m p\nmkdir m\ncreate m/b\nwrite m/b 0 two\nfsync m/b\nunlink p/a";
    let log = notation::parse(text).unwrap();
    let all: Vec<Cut> = (0..=log.entries().len()).map(|ops| Cut::after(&log, ops)).collect();
    let rules = Rules::new(Profile::Ext4);
    let early = early_commits(&log, &all, rules);
    let told = |state: &streamproof_crashfs::CrashState| {
        let tree = state.tree(&log, rules).render(&log).trim_end().replace('\n', "; ");
        (state.committed.unwrap().ops, state.cut.ops, tree)
    };
    // The last cut of each is just before the next sync, or the end; the bytes are never in it.
    assert_eq!(
        early.iter().map(told).collect::<Vec<_>>(),
        [
            (1, 3, "m/".to_owned()),
            (2, 3, "m/; m/a \"\"".to_owned()),
            (5, 8, "p/; p/a \"one\"".to_owned()),
            (6, 8, "m/; p/; p/a \"one\"".to_owned()),
            (7, 8, "m/; m/b \"\"; p/; p/a \"one\"".to_owned()),
            (10, 10, "m/; m/b \"two\"; p/".to_owned()),
        ]
    );
    // Each is what a sync of another file leaves there.
    let lines: Vec<&str> = text.lines().collect();
    for state in &early {
        let after = state.committed.unwrap().ops;
        let others = [&lines[..after], &["create other", "fsync other"]].concat().join("\n");
        let others = notation::parse(&others).unwrap();
        let end = Cut::after(&others, others.entries().len());
        let left = streamproof_crashfs::state(&others, end, rules).render(&others);
        let left: String =
            left.lines().filter(|line| !line.starts_with("other")).map(|l| format!("{l}\n")).collect();
        assert_eq!(left, state.tree(&log, rules).render(&log), "{state:?}");
    }
    // A search makes the same trees, in one pass with the others.
    let mut both = streamproof_crashfs::states(&log, &all, rules);
    both.extend(early);
    let dir = tempfile::tempdir().unwrap();
    let places = Places::below(dir.path(), 2);
    let made = explore::<_, streamproof_crashfs::CrashFsError, _>(&log, &both, rules, &places, |visit| {
        Ok(visit.tree.id() == visit.state.id)
    });
    assert!(made.unwrap().iter().all(|same| *same));
    // Only where there is a journal that is to be relied on.
    for rules in [Rules::new(Profile::Strict), rules.with_disk(Disk::Lying), rules.with_disk(Disk::Durable)] {
        assert!(early_commits(&log, &all, rules).is_empty(), "{rules:?}");
    }
}
