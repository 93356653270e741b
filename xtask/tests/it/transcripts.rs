//! What a user sees, pinned: the main commands in both engines, stdout, stderr and status, through one table of redactions.

use std::process::Output;

use crate::recipe::{Project, docker_answers};

/// What differs from run to run, and what stands for it: the one table.
const REDACTIONS: &[(&str, &str)] = &[
    // Lines that were too long for the terminal.
    (r"\n  │ ", " "),
    // Everything that a machine or a moment gives.
    (r"\d{4}-\d{2}-\d{2}T[0-9:.]+Z", "[time]"),
    (r"\[\d+\] \d{4}/\d{2}/\d{2} [0-9:.]+", "[pid] [time]"),
    (r"  \d+\.\d+s", "  [took]"),
    (r"\b\d+ ms\b", "[ms]"),
    (r"\bpid \d+", "pid [pid]"),
    (r"up \d+\.?\d*m?s", "up [uptime]"),
    (r"docker \d+[0-9a-z.+~-]*", "docker [version]"),
    (r"nats-server \d+\.\d+\.\d+(-[a-zA-Z0-9.]+)?", "nats-server [version]"),
    // Whether a registry gives the official image is the network's affair.
    (r"  not the official image [^\n]*\n", ""),
    (
        r"nats-server \[version\], the official image [^ ]*(, sha256:[0-9a-f]+)?",
        "nats-server [version] in [image]",
    ),
    (r"nats-server \[version\] \([a-z]+\), in an image built around it", "nats-server [version] in [image]"),
    (r"\((cache|path|wheel|release|image|go)\)", "([source])"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:[port]"),
    (r"\b\d+ monitor", "[port] monitor"),
    (r"at port \d+", "at port [port]"),
    (r"\d+\.\d+\.\d+, already up", "[version], already up"),
    (r"  \d+ B  \(", "  [size]  ("),
    (r"streamproof-[0-9a-f]{10}", "streamproof-[project]"),
    (r"project [0-9a-f]{10}", "project [project]"),
    (r"\d+(\.\d+)? [KM]iB", "[size]"),
    (r"data \d+ B", "data [size]"),
    (r"  removed image [^\n]*\n", ""),
];

fn filters(project: &Project) -> Vec<(String, String)> {
    let folder = project.path().canonicalize().unwrap();
    let folder = folder.to_str().unwrap().replace('.', r"\.");
    let own = [(folder, "[folder]".to_owned())];
    own.into_iter()
        .chain(REDACTIONS.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())))
        .collect()
}

/// A command as it was typed, with all that it said.
fn shown(args: &[&str], out: &Output) -> String {
    let part = |name: &str, bytes: &[u8]| match String::from_utf8_lossy(bytes).trim_end() {
        "" => String::new(),
        text => format!("--- {name}\n{text}\n"),
    };
    format!(
        "$ cargo xtask {}\n{}{}--- exit {}\n",
        args.join(" "),
        part("stdout", &out.stdout),
        part("stderr", &out.stderr),
        out.status.code().unwrap_or(-1)
    )
}

/// A walk as a newcomer takes it, as one text.
fn walk(project: &Project) -> String {
    let steps: &[&[&str]] = &[
        &["status"],
        &["up", "--port", "auto"],
        &["up"],
        &["publish", "xyz.test", "some random data"],
        &["status"],
        &["status", "--check"],
        &["env"],
        &["info"],
        &["consume", "AnotherStream", "SomeConsumer"],
        &["restart", "--kill"],
        &["up", "--port", "1"],
        &["plan"],
        &["down"],
        &["files"],
        &["down"],
        &["env"],
        &["clean"],
        &["clean", "--dry-run"],
        &["clean", "--yes"],
        &["clean", "--yes"],
    ];
    steps.iter().map(|args| shown(args, &project.run(args)) + "\n").collect()
}

fn pin(name: &str, project: &Project, text: &str) {
    let filters = filters(project);
    let filters: Vec<(&str, &str)> = filters.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    insta::with_settings!({ filters => filters, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn a_newcomers_walk_as_a_process() {
    let project = Project::on("process");
    pin("walk-process", &project, &walk(&project));
}

#[test]
fn a_newcomers_walk_in_docker() {
    if docker_answers() {
        let project = Project::on("docker");
        pin("walk-docker", &project, &walk(&project));
    }
}

#[test]
fn what_is_wrong_is_shown_with_its_place_and_a_way_out() {
    let project = Project::new();
    let mut text = String::new();
    let mut show = |args: &[&str]| text += &(shown(args, &project.run(args)) + "\n");
    show(&["up", "--port", "never"]);
    show(&["logs"]);
    show(&["publish", "xyz.a", "x"]);
    let conf = project.path().join("nats-config/jetstream.conf");
    let good = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, format!("{good}jetstrem: 1\n")).unwrap();
    show(&["up", "--port", "auto"]);
    std::fs::write(&conf, good).unwrap();
    std::fs::write(
        project.path().join("nats-config/streams/AnotherStream.json"),
        "{\n  \"name\": \"AnotherStream\",,\n}",
    )
    .unwrap();
    show(&["up", "--port", "auto"]);
    pin("wrong", &project, &text);
}
