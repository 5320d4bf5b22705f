//! A store in one JSON file.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::path::{self, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::{CredentialError, CredentialFuture, TokenStore, on_thread};
use crate::line::PortalId;
use crate::transport::auth::tokens::Tokens;

/// Keeps tokens and installations in a JSON file that only its owner can read. The file is always
/// complete: a new one is written beside it and then renamed. For one process only: replicas need a
/// store that all of them share, such as a database. Stores of one file in one process share their work, so
/// they may be clones or not.
///
/// If the file is not a JSON object, it is renamed to a name that ends in `.damaged`, and a new one is
/// started. If the data of one portal cannot be read, they are ignored and replaced by the next tokens
/// of this portal; other portals are not affected. Both cases are reported through `tracing` at target
/// `tracing_bizproc`.
///
/// ```
/// use tracing_bizproc::auth::{FileStore, OAuth};
///
/// // `Installations` gets the other clone.
/// let store = FileStore::new("app.json");
/// let oauth = OAuth::new("local.5e4a77", "the app's secret", store.clone());
/// # drop(oauth);
/// ```
#[derive(Clone, Debug)]
pub struct FileStore {
    pub(super) path: Arc<Mutex<PathBuf>>,
    /// Held while a thread works, so that many portals do not start many threads.
    pub(super) at_work: Arc<Semaphore>,
}

impl FileStore {
    /// Keeps them in this file. It is created when there is something to store. Its folder has to exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        // Two stores of one file share these, or the one would overwrite what the other has just written.
        let name = path::absolute(&path).unwrap_or_else(|_| path.clone());
        open.retain(|(_, path, _)| path.strong_count() > 0);
        let same = open.iter().find(|(other, ..)| *other == name);
        if let Some((path, at_work)) =
            same.and_then(|(_, path, at_work)| Some((path.upgrade()?, at_work.upgrade()?)))
        {
            return FileStore { path, at_work };
        }
        let (path, at_work) = (Arc::new(Mutex::new(path)), Arc::new(Semaphore::new(1)));
        open.push((name, Arc::downgrade(&path), Arc::downgrade(&at_work)));
        FileStore { path, at_work }
    }

    /// Runs `work` on the file's path, on a thread, one at a time.
    fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, CredentialError> + Send + 'static,
    ) -> CredentialFuture<'static, T> {
        let (path, at_work) = (Arc::clone(&self.path), Arc::clone(&self.at_work));
        Box::pin(async move {
            let turn = at_work.acquire_owned().await?;
            on_thread(move || {
                let _turn = turn;
                work(&path.lock().unwrap_or_else(PoisonError::into_inner))
            })
            .await
        })
    }

    pub(crate) fn installation(
        &self,
        portal: &PortalId,
    ) -> CredentialFuture<'static, Option<Value>> {
        let portal = portal.clone();
        self.with(move |path| {
            let portals = read_file(path)?;
            Ok(portals.get(portal.as_str()).and_then(|kept| kept.get(INSTALLATION)).cloned())
        })
    }

    /// Replaces `expected` with `new`. Returns whether `expected` was there.
    pub(crate) fn swap_installation(
        &self,
        portal: &PortalId,
        expected: Option<Value>,
        new: Option<Value>,
    ) -> CredentialFuture<'static, bool> {
        let portal = portal.clone();
        self.with(move |path| {
            let mut portals = read_file(path)?;
            let there = portals.get(portal.as_str()).and_then(|kept| kept.get(INSTALLATION));
            if there != expected.as_ref() {
                return Ok(false);
            }
            change(&mut portals, &portal, |kept| match new {
                Some(new) => drop(kept.insert(INSTALLATION.to_owned(), new)),
                None => drop(kept.remove(INSTALLATION)),
            });
            write_file(path, &portals)?;
            Ok(true)
        })
    }
}

impl TokenStore for FileStore {
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        let portal = portal.clone();
        self.with(move |path| Ok(stored(&read_file(path)?, &portal)))
    }

    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool> {
        let (portal, expected, new) = (portal.clone(), expected.cloned(), new.clone());
        self.with(move |path| {
            let mut portals = read_file(path)?;
            if stored(&portals, &portal) != expected {
                return Ok(false);
            }
            change(&mut portals, &portal, |kept| {
                take_tokens(kept);
                if let Value::Object(tokens) = new.to_value() {
                    kept.extend(tokens);
                }
            });
            write_file(path, &portals)?;
            Ok(true)
        })
    }

    fn remove<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, ()> {
        let portal = portal.clone();
        self.with(move |path| {
            let mut portals = read_file(path)?;
            if portals.contains_key(portal.as_str()) {
                change(&mut portals, &portal, take_tokens);
                write_file(path, &portals)?;
            }
            Ok(())
        })
    }
}

/// The files of the stores of this process.
static OPEN: Mutex<Vec<Open>> = Mutex::new(Vec::new());

/// The absolute path of a file, and what its stores share.
type Open = (PathBuf, Weak<Mutex<PathBuf>>, Weak<Semaphore>);

/// The key of the installation, next to the tokens of a portal.
const INSTALLATION: &str = "installation";

/// Removes everything except the installation.
fn take_tokens(kept: &mut Map<String, Value>) {
    kept.retain(|name, _| name == INSTALLATION);
}

/// Changes the data of one portal only.
fn change(
    portals: &mut Map<String, Value>,
    portal: &PortalId,
    work: impl FnOnce(&mut Map<String, Value>),
) {
    let mut kept = match portals.remove(portal.as_str()) {
        Some(Value::Object(kept)) => kept,
        // Other keys are not used by anything.
        _ => Map::new(),
    };
    work(&mut kept);
    if !kept.is_empty() {
        portals.insert(portal.as_str().to_owned(), Value::Object(kept));
    }
}

/// The portal's tokens, if they can be read.
fn stored(portals: &Map<String, Value>, portal: &PortalId) -> Option<Tokens> {
    let kept = portals.get(portal.as_str())?;
    let tokens = Tokens::of_value(kept);
    let has_none =
        kept.as_object().is_some_and(|kept| kept.keys().all(|name| name == INSTALLATION));
    if tokens.is_none() && !has_none {
        tracing::warn!(
            target: "tracing_bizproc",
            parent: None,
            portal = portal.as_str(),
            "the tokens of this portal in the token file cannot be read; they are ignored until new \
             tokens arrive"
        );
    }
    tokens
}

fn read_file(path: &Path) -> Result<Map<String, Value>, CredentialError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(failed("read", path, &error)),
    };
    // The error of the parser is not shown, because it may contain the input.
    if let Ok(portals) = serde_json::from_slice(&text) {
        return Ok(portals);
    }
    let aside = set_aside(path)?;
    tracing::warn!(
        target: "tracing_bizproc",
        parent: None,
        aside = %aside.display(),
        "the token file is not a JSON object: it was renamed, and a new file is used; new tokens come \
         with the next request of each portal"
    );
    Ok(Map::new())
}

/// Renames a file that cannot be read. Does not replace files that were renamed before.
fn set_aside(path: &Path) -> Result<PathBuf, CredentialError> {
    for n in 0..1_000 {
        let mut aside = path.as_os_str().to_owned();
        aside.push(if n == 0 { ".damaged".to_owned() } else { format!(".damaged-{n}") });
        let aside = PathBuf::from(aside);
        if !aside.exists() {
            fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err("the token file is damaged, and cannot be renamed: there are already 1,000 `.damaged` files in this \
         folder".into())
}

/// Writes a new file, makes sure that it is on the disk, and renames it: a reader sees the old pair or the
/// new one, also after a power failure.
fn write_file(path: &Path, portals: &Map<String, Value>) -> Result<(), CredentialError> {
    let mut text = serde_json::to_vec_pretty(portals)?;
    text.push(b'\n');
    let beside = beside(path);
    let written = write_beside(&beside, &text).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // It has secrets. If it is not there, nothing is to be done.
        let _ = fs::remove_file(&beside);
        return Err(failed("written", path, &error));
    }
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new(".")));
        folder
            .and_then(|folder| folder.sync_all())
            .map_err(|error| failed("written", path, &error))?;
    }
    Ok(())
}

/// Another name each time: a process that is being replaced may write at the same time as the new one.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    // Two processes have different keys.
    beside.push(format!(".{:016x}.new", RandomState::new().hash_one(path)));
    PathBuf::from(beside)
}

fn write_beside(beside: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(beside)?;
    file.write_all(text)?;
    file.sync_all()
}

fn failed(what: &str, path: &Path, error: &io::Error) -> CredentialError {
    format!("the token file {} cannot be {what}: {error}", path.display()).into()
}
