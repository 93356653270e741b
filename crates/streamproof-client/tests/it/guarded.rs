//! A server whose users' rights and limits are changed while it runs.

use std::path::PathBuf;
use std::process::Command;

use streamproof_client::async_nats::Client;
use streamproof_server::Scratch;
use streamproof_server::wire::Credentials;

use crate::bed::options;

pub(crate) const ALLOWED: &str =
    "publish: [\"s.>\", \"_INBOX.>\", \"$JS.>\"], subscribe: [\"_INBOX.>\", \"push\", \"flood\"]";
pub(crate) const REVOKED: &str = "publish: [\"_INBOX.>\"], subscribe: [\"_INBOX.>\", \"push\", \"flood\"]";
/// No inbox, but the stream's description.
pub(crate) const ONLY_INFO: &str = "publish: [\"s.>\", \"$JS.API.STREAM.INFO.S\"], subscribe: [\"_INBOX.>\"]";
pub(crate) const NO_INBOX: &str = "publish: [\"s.>\"], subscribe: [\"_INBOX.>\"]";

pub(crate) struct Guarded {
    pub(crate) server: Scratch,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Guarded {
    /// With the user `admin`, who may do everything, and `app`, who may do what the rules say.
    pub(crate) fn start(rules: &str, more: &str) -> Guarded {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guarded.conf");
        std::fs::write(&file, text(rules, more)).unwrap();
        let credentials = Credentials::UserPassword { user: "admin".into(), password: "a".into() };
        let server = Scratch::builder().config_file(&file).credentials(credentials).start().unwrap();
        Guarded { server, file, _dir: dir }
    }

    /// New rules for `app`, by a reload.
    pub(crate) fn rule(&self, rules: &str, more: &str) {
        // A reload knows nothing of the command line, where the name was given.
        let more = format!("{more}\nserver_name: {}", self.server.name());
        std::fs::write(&self.file, text(rules, &more)).unwrap();
        let reload = format!("reload={}", self.server.pid().unwrap());
        let done = Command::new(&self.server.binary().path).args(["--signal", &reload]).status();
        assert!(done.unwrap().success());
    }

    pub(crate) async fn admin(&self) -> Client {
        options().user_and_password("admin".into(), "a".into()).connect(self.server.url()).await.unwrap()
    }

    pub(crate) async fn app(&self) -> Client {
        self.app_at(&self.server.url()).await
    }

    pub(crate) async fn app_at(&self, url: &str) -> Client {
        options().user_and_password("app".into(), "b".into()).connect(url).await.unwrap()
    }
}

fn text(rules: &str, more: &str) -> String {
    format!(
        "jetstream {{ store_dir: $STREAMPROOF_STORE }}\n{more}\nauthorization {{ users = [\n\
         {{ user: admin, password: a }}\n{{ user: app, password: b, permissions: {{ {rules} }} }}\n] }}\n"
    )
}
