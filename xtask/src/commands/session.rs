//! What most commands begin with: the project, its files, its server, and a connection.

use std::future::Future;
use std::path::PathBuf;

use streamproof::connect::Connect;
use streamproof::folder::CONFIG_DIR;
use streamproof::home::Home;
use streamproof::model::failure::Code;
use streamproof::model::finding::{Finding, Rule, Severity};
use streamproof::model::project::Project;
use streamproof::model::version::Version;
use streamproof::provision::Js;
use streamproof::server::interrupt::Interrupt;
use streamproof::server::node::Running;

use crate::flags::{Global, ServerFlags};
use crate::output::Out;
use crate::problem::Problem;

/// A project and the terminal.
pub(crate) struct Session<'a> {
    pub(crate) home: Home,
    pub(crate) out: &'a Out,
}

/// A server that was chosen.
pub(crate) struct Reached {
    pub(crate) connect: Connect,
    /// Whether it is the one that `up` started.
    pub(crate) ours: bool,
}

impl<'a> Session<'a> {
    pub(crate) fn open(global: &Global, out: &'a Out) -> Result<Self, Problem> {
        let here =
            std::env::current_dir().map_err(|e| Problem::new(Code::Io, format!("no current folder: {e}")))?;
        let home = Home::open(global.project.as_deref(), &here).map_err(Problem::of)?;
        // A proof that was killed may have left a file system mounted: whatever is asked for, it goes first. Where there was one, the
        // build that knows what it left is there, too.
        #[cfg(not(feature = "proof"))]
        if streamproof::mounts::are_below(&home.folder.state_dir()) {
            super::build::whole(out)?;
        }
        #[cfg(feature = "proof")]
        for path in home.clean_stale_mounts() {
            out.note(&format!("unmounted {}, left by a run that was killed", path.display()));
        }
        Ok(Self { home, out })
    }

    /// `nats-config/` as it is best shown from here.
    pub(crate) fn shown(&self) -> PathBuf {
        let config = self.home.folder.config_dir();
        let here = std::env::current_dir().and_then(std::fs::canonicalize).unwrap_or_default();
        match config.strip_prefix(&here) {
            Ok(short) => short.to_owned(),
            Err(_) if here == *self.home.folder.root() => PathBuf::from(CONFIG_DIR),
            Err(_) => config,
        }
    }

    /// The files, with all that is wrong with them.
    pub(crate) fn read(&self, version: Option<Version>) -> Result<Project, Problem> {
        self.home.read(&self.shown(), version).map_err(Problem::of)
    }

    /// The files, valid; what is doubtful in them is shown as warnings.
    pub(crate) fn load(&self) -> Result<Project, Problem> {
        let project = self.read(None)?;
        let (errors, warnings): (Vec<_>, Vec<_>) =
            project.findings.iter().partition(|finding| finding.severity == Severity::Error);
        if !errors.is_empty() {
            return Err(invalid(&errors));
        }
        for finding in warnings {
            self.out.warn_about(&shown(finding));
        }
        Ok(project)
    }

    /// Our own server, if it runs.
    pub(crate) fn running(&self) -> Result<Option<Running>, Problem> {
        self.home.node.running().map_err(Problem::of)
    }

    /// Our own server, which must run.
    pub(crate) fn must_run(&self) -> Result<Running, Problem> {
        self.running()?.ok_or_else(|| {
            Problem::new(Code::NotRunning, "no server of this project runs").help("cargo xtask up")
        })
    }

    /// The server that the flags name, else the one that `[connect]` names, else our own.
    pub(crate) fn reach(&self, flags: &ServerFlags, project: &Project) -> Result<Reached, Problem> {
        let mut ours = flags.server.is_none() && flags.context.is_none();
        let mut connect = if let Some(url) = &flags.server {
            Connect::to(url.clone())
        } else if let Some(name) = &flags.context {
            let home = config_home()
                .ok_or_else(|| Problem::new(Code::Usage, "no home folder to look for contexts in"))?;
            Connect::from_context(&home, name).map_err(Problem::of)?
        } else if let Some(url) = &project.settings.connect.url {
            ours = false;
            self.home.connect_at(url.clone(), project).map_err(Problem::of)?
        } else {
            let running = self.must_run()?;
            self.home.connect_to(&running, project).map_err(Problem::of)?
        };
        if flags.creds.is_some() {
            connect.creds.clone_from(&flags.creds);
        }
        if flags.nkey.is_some() {
            connect.nkey.clone_from(&flags.nkey);
        }
        if flags.user.is_some() {
            connect.user.clone_from(&flags.user);
        }
        if flags.password.is_some() {
            connect.password.clone_from(&flags.password);
        }
        if flags.token.is_some() {
            connect.token.clone_from(&flags.token);
        }
        if flags.tlsca.is_some() {
            connect.tlsca.clone_from(&flags.tlsca);
        }
        if flags.tlscert.is_some() {
            connect.tlscert.clone_from(&flags.tlscert);
            connect.tlskey.clone_from(&flags.tlskey);
        }
        Ok(Reached { connect, ours })
    }

    /// A connection for raw requests.
    pub(crate) async fn js(&self, connect: &Connect) -> Result<Js, Problem> {
        let client = connect.client().await.map_err(Problem::of)?;
        Ok(match &connect.domain {
            Some(domain) => Js::with_domain(client, domain),
            None => Js::new(client),
        })
    }
}

/// Runs what waits for a server. Ctrl-C ends it.
pub(crate) fn wait<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Problem::new(Code::Internal, format!("no runtime: {e}")))?;
    runtime.block_on(async {
        tokio::select! {
            done = work => done,
            _ = tokio::signal::ctrl_c() => Err(interrupted()),
        }
    })
}

/// Set by Ctrl-C (SIGINT), by SIGTERM and by the end of the terminal (SIGHUP); a second one ends the program on the spot.
pub(crate) fn interrupt() -> Result<Interrupt, Problem> {
    let failed = |what: String| Problem::new(Code::Internal, format!("signals cannot be watched: {what}"));
    let interrupt = Interrupt::default();
    let seen = interrupt.clone();
    let (watching, ready) = std::sync::mpsc::channel::<std::io::Result<()>>();
    let watch = async move |watching: &std::sync::mpsc::Sender<std::io::Result<()>>| -> std::io::Result<()> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let mut int = signal(SignalKind::interrupt())?;
            let mut term = signal(SignalKind::terminate())?;
            let mut hangup = signal(SignalKind::hangup())?;
            _ = watching.send(Ok(()));
            loop {
                tokio::select! { _ = int.recv() => {} _ = term.recv() => {} _ = hangup.recv() => {} }
                if seen.is_set() {
                    end_at_once();
                }
                seen.set();
            }
        }
        #[cfg(not(unix))]
        {
            _ = watching.send(Ok(()));
            loop {
                tokio::signal::ctrl_c().await?;
                if seen.is_set() {
                    end_at_once();
                }
                seen.set();
            }
        }
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Err(refused) = runtime.and_then(|runtime| runtime.block_on(watch(&watching))) {
            _ = watching.send(Err(refused));
        }
    });
    match ready.recv() {
        Ok(Ok(())) => Ok(interrupt),
        Ok(Err(refused)) => Err(failed(refused.to_string())),
        Err(gone) => Err(failed(gone.to_string())),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the user asked for it twice; what was begun is left to the next `up`"
)]
fn end_at_once() -> ! {
    std::process::exit(Code::Interrupted.exit().status().into())
}

pub(crate) fn interrupted() -> Problem {
    Problem::new(Code::Interrupted, "interrupted")
        .help("run the same command again: it goes on from what is there")
}

/// Findings as one failure.
pub(crate) fn invalid(errors: &[&Finding]) -> Problem {
    // What cannot be read at all comes first: the rest may only follow from it.
    let mut errors = errors.to_vec();
    errors.sort_by_key(|finding| !matches!(finding.rule, Rule::Syntax | Rule::Unreadable));
    let mut all = errors.iter().map(|finding| shown(finding));
    let mut first = all.next().unwrap_or_else(|| Problem::new(Code::InvalidConfig, "nothing is wrong"));
    first.also = all.collect();
    first
}

/// A finding, drawn at its place.
pub(crate) fn shown(finding: &Finding) -> Problem {
    let mut problem =
        Problem::new(Code::InvalidConfig, finding.message.clone()).at(Some(finding.place.clone()));
    problem.help.clone_from(&finding.help);
    problem.rule = Some(finding.rule.name().to_owned());
    problem.label.clone_from(&finding.label);
    problem.warning = finding.severity == Severity::Warning;
    problem
}

/// Where the `nats` CLI keeps its contexts.
fn config_home() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))
}
