//! Any server: by URL, by context, by every way to log in; and one that is not on this machine.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use nkeys::KeyPair;
use serde_json::{Value, json};
use streamproof::server::Scratch;
use streamproof::server::wire::Credentials;

use crate::elsewhere::{json as run, project, xtask};
use crate::recipe::print_skip;

const ORDERS: (&str, &str) = ("streams/ORDERS.json", r#"{ "name": "ORDERS", "subjects": ["orders.*"] }"#);

/// With these flags a server is planned for, changed, in line and exported from; without them it lets nobody in.
fn is_let_in(server: &Scratch, flags: &[&str]) {
    let dir = project(&[ORDERS]);
    let url = server.url();
    let at = |words: &[&str]| run(dir.path(), &[words, &["--server", &url], flags].concat());
    let refused = run(dir.path(), &["plan", "--server", &url]);
    assert_eq!((&refused["code"], &refused["exit"]), (&"access-denied".into(), &6.into()), "{refused:#}");
    works(&at);
}

fn works(at: &dyn Fn(&[&str]) -> Value) {
    assert_eq!(at(&["plan"])["data"]["pending"], 1);
    let applied = at(&["apply"]);
    assert_eq!(
        (&applied["ok"], &applied["data"]["after"]["pending"]),
        (&true.into(), &0.into()),
        "{applied:#}"
    );
    assert_eq!(at(&["plan", "--check"])["exit"], 0);
    let exported = at(&["export"]);
    assert_eq!(exported["ok"], true, "{exported:#}");
    assert_eq!(at(&["info", "ORDERS"])["ok"], true);
    assert_eq!(at(&["doctor"])["ok"], true);
}

#[test]
fn by_user_and_password_also_in_the_url_and_it_is_printed_nowhere() {
    let server = Scratch::builder()
        .config("authorization { user: me, password: s3cret }")
        .credentials(Credentials::UserPassword { user: "me".into(), password: "s3cret".into() })
        .start()
        .unwrap();
    is_let_in(&server, &["--user", "me", "--password", "s3cret"]);
    let url = server.url().replace("nats://", "nats://me:s3cret@");
    let dir = project(&[ORDERS]);
    for words in [&["plan", "--out", "saved"][..], &["apply"], &["doctor"], &["export"]] {
        let out = xtask(dir.path(), &[words, &["--server", &url]].concat());
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success() && !text.contains("s3cret"), "{words:?}: {text}");
    }
    assert!(!std::fs::read_to_string(dir.path().join("saved")).unwrap().contains("s3cret"));
    let wrong = url.replace("s3cret", "other1");
    let text = run(dir.path(), &["plan", "--server", &wrong]);
    assert!(text["code"] == "access-denied" && !text.to_string().contains("other1"), "{text:#}");
}

#[test]
fn by_token() {
    let server = Scratch::builder()
        .config("authorization { token: t0ken }")
        .credentials(Credentials::Token("t0ken".into()))
        .start()
        .unwrap();
    is_let_in(&server, &["--token", "t0ken"]);
}

#[test]
fn by_nkey() {
    let pair = KeyPair::new_user();
    let server = Scratch::builder()
        .config(&format!("authorization {{ users: [{{ nkey: {} }}] }}", pair.public_key()))
        .credentials(Credentials::Nkey(pair.seed().unwrap()))
        .start()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let seed = dir.path().join("me.nk");
    std::fs::write(&seed, pair.seed().unwrap()).unwrap();
    is_let_in(&server, &["--nkey", seed.to_str().unwrap()]);
}

/// A JWT as NATS has them: signed by the issuer's nkey.
fn jwt(issuer: &KeyPair, subject: &str, nats: &Value) -> String {
    let claims = json!({ "jti": "test", "iat": 1, "iss": issuer.public_key(), "name": subject, "sub": subject, "nats": nats });
    let head = base64url(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let signed = format!("{head}.{}", base64url(claims.to_string().as_bytes()));
    format!("{signed}.{}", base64url(&issuer.sign(signed.as_bytes()).unwrap()))
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        text.extend(
            (0..=chunk.len()).map(|place| char::from(ALPHABET[(word >> (18 - 6 * place) & 63) as usize])),
        );
    }
    text
}

/// A server's configuration with an operator, and the credentials file of a user in it, which is written to `dir`.
pub(crate) fn with_an_operator(dir: &Path) -> (String, PathBuf) {
    let (operator, system, account, user) =
        (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
        "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1 });
    let plain = json!({ "type": "account", "version": 2, "limits": { "subs": -1, "conn": -1, "data": -1, "payload": -1 } });
    let of_operator = jwt(&operator, &operator.public_key(), &json!({ "type": "operator", "version": 2 }));
    let of_system = jwt(&operator, &system.public_key(), &plain);
    let of_account =
        jwt(&operator, &account.public_key(), &json!({ "type": "account", "version": 2, "limits": limits }));
    let of_user = jwt(
        &account,
        &user.public_key(),
        &json!({ "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 }),
    );
    let config = format!(
        "operator: {of_operator}\nsystem_account: {s}\nresolver: MEMORY\nresolver_preload: {{ {s}: {of_system}, {a}: {of_account} }}\n",
        s = system.public_key(),
        a = account.public_key()
    );
    let creds = dir.join("me.creds");
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{}\n\
         ------END USER NKEY SEED------\n",
        user.seed().unwrap()
    );
    std::fs::write(&creds, text).unwrap();
    (config, creds)
}

#[test]
fn by_creds() {
    let dir = tempfile::tempdir().unwrap();
    let (config, creds) = with_an_operator(dir.path());
    let server = Scratch::builder()
        .config(&config)
        .credentials(Credentials::CredsFile(creds.clone()))
        .start()
        .unwrap();
    is_let_in(&server, &["--creds", creds.to_str().unwrap()]);
}

/// Whether `openssl` made this.
fn openssl(dir: &Path, args: &[&str]) -> bool {
    Command::new("openssl").args(args).current_dir(dir).output().is_ok_and(|out| out.status.success())
}

/// Makes an authority, and by it a certificate for 127.0.0.1 and one for a client, each with its key (`ca.pem`, `server.pem`,
/// `server.key`, …); false where `openssl` is not there.
pub(crate) fn certificates(keys: &Path) -> bool {
    let signed = |name: &str, extensions: &str| {
        std::fs::write(keys.join("ext"), extensions).unwrap();
        let (key, csr, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        openssl(
            keys,
            &["req", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &csr, "-subj", "/CN=x"],
        ) && openssl(
            keys,
            &[
                "x509",
                "-req",
                "-in",
                &csr,
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "30",
                "-out",
                &pem,
                "-extfile",
                "ext",
            ],
        )
    };
    openssl(
        keys,
        &[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days",
            "30", "-subj", "/CN=ca",
        ],
    ) && signed("server", "subjectAltName=IP:127.0.0.1\n")
        && signed("client", "extendedKeyUsage=clientAuth\n")
}

#[test]
fn by_tls_with_a_certificate_of_ones_own() {
    let keys = tempfile::tempdir().unwrap();
    let at = |name: &str| keys.path().join(name).display().to_string();
    if !certificates(keys.path()) {
        print_skip("openssl is not installed");
        return;
    }
    // Clients without TLS are let in too, so that the test's own look at the server needs none.
    let config = format!(
        "allow_non_tls: true\ntls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
        at("server.pem"),
        at("server.key"),
        at("ca.pem")
    );
    let server = Scratch::builder().config(&config).start().unwrap();
    let url = server.url().replace("nats://", "tls://");
    let dir = project(&[ORDERS]);
    let (ca, cert, key) = (at("ca.pem"), at("client.pem"), at("client.key"));
    let at = |words: &[&str], flags: &[&str]| run(dir.path(), &[words, &["--server", &url], flags].concat());
    // A certificate that nobody we trust has signed; and none of ours, which the server asks for.
    for flags in [&[][..], &["--tlsca", &ca]] {
        let refused = at(&["plan"], flags);
        assert_eq!(refused["exit"], 3, "{refused:#}");
    }
    works(&|words| at(words, &["--tlsca", &ca, "--tlscert", &cert, "--tlskey", &key]));
}

#[test]
fn by_a_context_of_the_nats_cli() {
    let server = Scratch::builder()
        .config("authorization { user: me, password: s3cret }")
        .credentials(Credentials::UserPassword { user: "me".into(), password: "s3cret".into() })
        .start()
        .unwrap();
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("nats/context")).unwrap();
    let context = json!({ "description": "", "url": server.url(), "user": "me", "password": "s3cret", "creds": "", "nkey": "" });
    std::fs::write(home.path().join("nats/context/prod.json"), context.to_string()).unwrap();
    let dir = project(&[ORDERS]);
    let at = |words: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(words)
            .args(["--context", "prod", "--json"])
            .current_dir(dir.path())
            .env("XDG_CONFIG_HOME", home.path())
            .output()
            .unwrap();
        serde_json::from_slice(&out.stdout).unwrap()
    };
    works(&at);
    let missing = run(dir.path(), &["plan", "--context", "none-of-that-name"]);
    assert_eq!((&missing["code"], &missing["exit"]), (&"usage".into(), &2.into()), "{missing:#}");
}

/// An address of this machine that is not the loopback one.
fn outward() -> Option<IpAddr> {
    // Nothing is sent: it only chooses the way (192.0.2.0/24 is for documentation, RFC 5737).
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|at| at.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// Passes on to a server of the loopback address what comes to another one; ends with the test's process.
fn passed_on(from: IpAddr, to: String) -> std::io::Result<u16> {
    let listener = TcpListener::bind((from, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&to) else { continue };
            let pairs = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
            for (reads, writes) in pairs {
                let (Ok(mut reads), Ok(mut writes)) = (reads, writes) else { continue };
                std::thread::spawn(move || {
                    let mut buffer = [0; 8192];
                    while let Ok(count) = reads.read(&mut buffer) {
                        if count == 0 || writes.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    Ok(port)
}

#[test]
fn one_that_is_not_on_this_machine_is_named_by_flag_and_said_before_it_is_changed() {
    let Some(address) = outward() else {
        print_skip("this machine has no other address than the loopback one");
        return;
    };
    let server = Scratch::builder()
        .config("accounts { SHOP { jetstream: enabled, users: [{ user: me, password: pw }] } }")
        .credentials(Credentials::UserPassword { user: "me".into(), password: "pw".into() })
        .start()
        .unwrap();
    let port = passed_on(address, server.address()).unwrap();
    let url = format!("nats://{address}:{port}");
    let toml = format!("[connect]\nurl = \"{url}\"\nuser = \"me\"\npassword_file = \"pw\"\n");
    let dir = project(&[ORDERS, ("streamproof.toml", &toml)]);
    std::fs::write(dir.path().join("pw"), "pw\n").unwrap();
    // Looking is free; changing needs the name on the command line, and neither the file nor the environment is that.
    let planned = run(dir.path(), &["plan"]);
    assert_eq!(planned["data"]["pending"], 1, "{planned:#}");
    let refused = run(dir.path(), &["apply"]);
    assert_eq!((&refused["code"], &refused["exit"]), (&"not-ours".into(), &5.into()), "{refused:#}");
    let out = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["apply", "--json", "--user", "me", "--password", "pw"])
        .current_dir(dir.path())
        .env("STREAMPROOF_SERVER", &url)
        .output()
        .unwrap();
    let refused: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(refused["code"], "not-ours", "{refused:#}");
    assert_eq!(run(dir.path(), &["plan"])["data"]["pending"], 1, "refused, and yet changed");
    let applied = run(dir.path(), &["apply", "--server", &url, "--user", "me", "--password", "pw"]);
    assert_eq!(applied["ok"], true, "{applied:#}");
    let warned = applied["warnings"].as_array().unwrap().iter().any(|warning| {
        let text = warning.as_str().unwrap();
        [server.name(), "account SHOP", "user me", &url].iter().all(|part| text.contains(part))
    });
    assert!(warned, "{applied:#}");
}
