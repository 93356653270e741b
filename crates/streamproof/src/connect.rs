//! Reaching a server: the one that is up, or one that was named; by URL, by a context of the `nats` CLI, with credentials.

use std::path::{Path, PathBuf};

use async_nats::{Client, ConnectOptions};
use serde::Deserialize;
use streamproof_model::failure::{Code, Failure};
use thiserror::Error;

/// How long a connection and its first request may take.
pub const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// How to reach and to be let in by a server. Nothing in here is ever printed but the URL and the user's name.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Connect {
    /// `nats://host:port`, several separated by commas.
    pub url: String,
    /// Credentials file.
    pub creds: Option<PathBuf>,
    /// Nkey seed file.
    pub nkey: Option<PathBuf>,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Token.
    pub token: Option<String>,
    /// Certificate authority.
    pub tlsca: Option<PathBuf>,
    /// Client certificate and key.
    pub tlscert: Option<PathBuf>,
    /// Key of the client certificate.
    pub tlskey: Option<PathBuf>,
    /// JetStream domain.
    pub domain: Option<String>,
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect").field("url", &self.url).field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why a server can't be reached.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A context of the `nats` CLI that is not there or can't be read.
    #[error("context {name} of the nats CLI: {reason} ({})", .file.display())]
    Context {
        /// The context.
        name: String,
        /// Its file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file with a secret that can't be read.
    #[error("cannot read {}: {source}", .file.display())]
    Secret {
        /// The file.
        file: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Nobody answers.
    #[error("no NATS server answers at {url}: {reason}")]
    Unreachable {
        /// Where it was tried.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server lets this user not in.
    #[error("{url} does not let this user in: {reason}")]
    Denied {
        /// Where.
        url: String,
        /// The server's words.
        reason: String,
    },
}

impl Failure for ConnectError {
    fn code(&self) -> Code {
        match self {
            ConnectError::Context { .. } => Code::Usage,
            ConnectError::Secret { source, .. } => crate::folder::io_code(source),
            ConnectError::Unreachable { .. } => Code::Unreachable,
            ConnectError::Denied { .. } => Code::AccessDenied,
        }
    }

    fn help(&self) -> Option<String> {
        Some(
            match self {
                ConnectError::Context { .. } => "nats context ls   lists the contexts there are",
                ConnectError::Secret { .. } => return None,
                ConnectError::Unreachable { .. } => "cargo xtask status   says what of ours runs",
                ConnectError::Denied { .. } => {
                    "name who connects: --creds, --nkey, --user with STREAMPROOF_PASSWORD, or STREAMPROOF_TOKEN;\n\
                     for our own server: [connect] in nats-config/streamproof.toml"
                }
            }
            .to_owned(),
        )
    }
}

impl Connect {
    /// A server by its URL alone.
    #[must_use]
    pub fn to(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// A context of the `nats` CLI: `<config home>/nats/context/<name>.json`.
    ///
    /// # Errors
    /// [`ConnectError::Context`] where the file is missing or is not one.
    pub fn from_context(config_home: &Path, name: &str) -> Result<Self, ConnectError> {
        // natscli keeps unset fields as empty strings.
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Context {
            url: String,
            creds: String,
            nkey: String,
            user: String,
            password: String,
            token: String,
            ca: String,
            cert: String,
            key: String,
            jetstream_domain: String,
        }
        let file = config_home.join("nats/context").join(format!("{name}.json"));
        let wrong =
            |reason: String| ConnectError::Context { name: name.to_owned(), file: file.clone(), reason };
        let text = std::fs::read_to_string(&file).map_err(|e| wrong(e.to_string()))?;
        let context: Context = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        let some = |s: String| (!s.is_empty()).then_some(s);
        let path = |s: String| some(s).map(PathBuf::from);
        Ok(Self {
            url: some(context.url).unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned()),
            creds: path(context.creds),
            nkey: path(context.nkey),
            user: some(context.user),
            password: some(context.password),
            token: some(context.token),
            tlsca: path(context.ca),
            tlscert: path(context.cert),
            tlskey: path(context.key),
            domain: some(context.jetstream_domain),
        })
    }

    /// Whether the server is on this machine. A server elsewhere is changed only when it was named by flag.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.hosts().iter().all(|(host, _)| {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
    }

    /// The hosts of the URL, each with its port.
    pub(crate) fn hosts(&self) -> Vec<(String, u16)> {
        let of = |url: &str| {
            let rest = url.trim();
            let rest = rest.rsplit_once("://").map_or(rest, |(_, rest)| rest);
            let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
            let rest = rest.split('/').next().unwrap_or_default();
            let (host, port) = match rest.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
                Some((v6, port)) => (v6, port.strip_prefix(':')),
                None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
            };
            let port = port.and_then(|port| port.parse().ok()).unwrap_or(crate::home::DEFAULT_PORT);
            (host.to_owned(), port)
        };
        self.url.split(',').map(of).collect()
    }

    /// The user and password, or the token, that a person wrote into the URL.
    fn in_url(&self) -> Option<(String, Option<String>)> {
        self.url.split(',').find_map(|url| {
            let rest = url.rsplit_once("://").map_or(url, |(_, rest)| rest);
            let (who, _) = rest.rsplit_once('@')?;
            Some(match who.split_once(':') {
                Some((user, password)) => (decoded(user.trim()), Some(decoded(password))),
                None => (decoded(who.trim()), None),
            })
        })
    }

    /// The URL without what a person may have written into it as a secret.
    #[must_use]
    pub fn shown(&self) -> String {
        let of = |url: &str| {
            let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
        };
        self.url.split(',').map(|url| of(url.trim())).collect::<Vec<_>>().join(",")
    }

    /// Connects.
    ///
    /// # Errors
    /// [`ConnectError`], with the reason and what to do.
    pub async fn client(&self) -> Result<Client, ConnectError> {
        self.client_named("streamproof").await
    }

    async fn client_named(&self, name: &str) -> Result<Client, ConnectError> {
        let urls: Vec<String> = self.url.split(',').map(|u| u.trim().to_owned()).collect();
        self.options()?.name(name).connect(urls).await.map_err(|error| {
            let reason = error.to_string();
            let url = self.shown();
            if error.kind() == async_nats::ConnectErrorKind::AuthorizationViolation
                || error.kind() == async_nats::ConnectErrorKind::Authentication
            {
                ConnectError::Denied { url, reason }
            } else {
                ConnectError::Unreachable { url, reason }
            }
        })
    }

    /// What a connection is made with, for who makes its own.
    ///
    /// # Errors
    /// [`ConnectError::Secret`].
    pub fn options(&self) -> Result<ConnectOptions, ConnectError> {
        let mut options = ConnectOptions::new().connection_timeout(CONNECT_TIMEOUT);
        if let Some(file) = &self.creds {
            let text = read(file)?;
            options = options
                .credentials(&text)
                .map_err(|source| ConnectError::Secret { file: file.clone(), source })?;
        } else if let Some(file) = &self.nkey {
            options = options.nkey(read(file)?.trim().to_owned());
        } else if let Some(user) = &self.user {
            options = options.user_and_password(user.clone(), self.password.clone().unwrap_or_default());
        } else if let Some(token) = &self.token {
            options = options.token(token.clone());
        } else if let Some((user, password)) = self.in_url() {
            options = match password {
                Some(password) => options.user_and_password(user, password),
                None => options.token(user),
            };
        }
        if let Some(file) = &self.tlsca {
            options = options.add_root_certificates(file.clone());
        }
        if let (Some(cert), Some(key)) = (&self.tlscert, &self.tlskey) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        Ok(options)
    }

    /// The same for the `nats` CLI, as variables of its environment: a secret is in no command line.
    #[must_use]
    pub fn cli_environment(&self) -> Vec<(String, String)> {
        let file = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
        let all = [
            ("NATS_CREDS", file(&self.creds)),
            ("NATS_NKEY", file(&self.nkey)),
            ("NATS_USER", self.user.clone()),
            ("NATS_PASSWORD", self.password.clone().filter(|_| self.user.is_some())),
            ("NATS_TOKEN", self.token.clone()),
            ("NATS_CA", file(&self.tlsca)),
            ("NATS_CERT", file(&self.tlscert)),
            ("NATS_KEY", file(&self.tlskey)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// The JetStream context on a connection, in the domain if one was named.
    #[must_use]
    pub fn jetstream(&self, client: Client) -> async_nats::jetstream::Context {
        match &self.domain {
            Some(domain) => async_nats::jetstream::with_domain(client, domain),
            None => async_nats::jetstream::new(client),
        }
    }
}

/// What stands in a URL with `%2F` for what has a meaning there.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match hex.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read(file: &Path) -> Result<String, ConnectError> {
    std::fs::read_to_string(file).map_err(|source| ConnectError::Secret { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_elsewhere() {
        for near in
            ["nats://127.0.0.1:4222", "localhost:1", "nats://u:p@127.9.0.1", "tls://[::1]:4222", "127.0.0.1"]
        {
            assert!(Connect::to(near).is_loopback(), "{near}");
        }
        for far in [
            "nats://10.0.0.1:4222",
            "nats.example.com",
            "nats://127.0.0.1,nats://10.0.0.1",
            "127.0.0.1.example.com",
        ] {
            assert!(!Connect::to(far).is_loopback(), "{far}");
        }
    }

    #[test]
    fn who_connects_may_stand_in_the_url_and_is_not_shown() {
        let who = |url: &str| Connect::to(url).in_url();
        assert_eq!(who("nats://me:p%40s@h:1"), Some(("me".into(), Some("p@s".into()))));
        assert_eq!(who("nats://t0ken@h:1"), Some(("t0ken".into(), None)));
        assert_eq!(who("nats://h:1,tls://[::1]:2"), None);
        assert_eq!(Connect::to("nats://me:p@h:1, b:2").shown(), "nats://h:1,b:2");
    }

    #[test]
    fn a_context_of_the_nats_cli_is_read() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("nats/context");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(
            dir.join("dev.json"),
            r#"{"description":"","url":"nats://h:1","user":"me","password":"x","creds":""}"#,
        )
        .unwrap();
        let connect = Connect::from_context(home.path(), "dev").unwrap();
        assert_eq!(
            (connect.url.as_str(), connect.user.as_deref(), connect.creds),
            ("nats://h:1", Some("me"), None)
        );
        assert!(!format!("{:?}", Connect::from_context(home.path(), "dev").unwrap()).contains('x'));
        assert!(matches!(Connect::from_context(home.path(), "none"), Err(ConnectError::Context { .. })));
    }
}
