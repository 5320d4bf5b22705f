//! Where the tokens of portals are kept between runs, and between replicas.

use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, File};
use std::future::{Future, ready};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, thread};

use serde_json::{Map, Value};
use tokio::sync::{Semaphore, oneshot};

use super::tokens::Tokens;
use crate::line::PortalId;
use crate::thread_role::mark_helper_thread;

/// What went wrong in a store or a provider. It is reported, so it must repeat no secret.
pub type CredentialError = Box<dyn Error + Send + Sync>;

/// What a store or a provider answers, later.
pub type CredentialFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, CredentialError>> + Send + 'a>>;

/// Where the tokens of portals are kept.
///
/// A refresh token works once. So a new pair is stored before it is used, and stored only over the
/// pair that it replaces: replicas that share a store agree on one pair.
///
/// The futures are awaited on the worker's thread, each for as long as
/// [`OAuth::store_timeout`](super::OAuth::store_timeout) says. A store whose client blocks hands
/// the work to [`on_thread`]. No call is made per line or per request: a portal's pair is loaded
/// once, and again when it has been refused.
pub trait TokenStore: Send + Sync + 'static {
    /// The pair of this portal, if there is one.
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>>;

    /// Stores `new` if the portal's pair is `expected` (`None`: it has none) at that moment, and
    /// says whether it did. Compare and store must be one step for all who share the store.
    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool>;
}

impl<T: TokenStore + ?Sized> TokenStore for Arc<T> {
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        (**self).load(portal)
    }

    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool> {
        (**self).swap(portal, expected, new)
    }
}

/// Runs work that blocks on a thread of its own, for stores whose client is not async.
///
/// Delivery waits for this work, so the work must not wait for delivery: a flush there, or the end of an
/// activity, fails at once with [`FlushError::DeliveryThread`](crate::FlushError::DeliveryThread).
pub fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CredentialError> + Send + 'static,
) -> CredentialFuture<'static, T> {
    let (reply, answer) = oneshot::channel();
    let started = thread::Builder::new().name("bizproc-store".to_owned()).spawn(move || {
        mark_helper_thread();
        // Nobody waits any more: the timeout has passed.
        let _ = reply.send(work());
    });
    Box::pin(async move {
        started?;
        answer.await.map_err(|_| "the store's thread panicked")?
    })
}

/// Keeps tokens for as long as the process runs. For portals that send new tokens with every
/// handler's request this is enough.
#[derive(Default)]
pub struct MemoryStore(Mutex<HashMap<PortalId, Tokens>>);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        MemoryStore::default()
    }
}

impl TokenStore for MemoryStore {
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        // A map is whole whatever panicked beside it.
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Box::pin(ready(Ok(tokens.get(portal).cloned())))
    }

    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool> {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let swapped = tokens.get(portal) == expected;
        if swapped {
            tokens.insert(portal.clone(), new.clone());
        }
        Box::pin(ready(Ok(swapped)))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

/// Keeps tokens in a JSON file, readable by its owner only and always whole: it is written beside
/// and then renamed. For one process: replicas need a store that all of them share, a database.
#[derive(Clone, Debug)]
pub struct FileStore {
    path: Arc<Mutex<PathBuf>>,
    /// Held by the thread that is at work: many portals at once do not make as many threads.
    at_work: Arc<Semaphore>,
}

impl FileStore {
    /// Keeps tokens in this file, which is made when there is something to store. Its folder must
    /// exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        FileStore { path: Arc::new(Mutex::new(path.into())), at_work: Arc::new(Semaphore::new(1)) }
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
}

impl TokenStore for FileStore {
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        let portal = portal.clone();
        self.with(move |path| stored(&read_file(path)?, &portal))
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
            if stored(&portals, &portal)? != expected {
                return Ok(false);
            }
            portals.insert(portal.as_str().to_owned(), new.to_value());
            write_file(path, &portals)?;
            Ok(true)
        })
    }
}

fn stored(
    portals: &Map<String, Value>,
    portal: &PortalId,
) -> Result<Option<Tokens>, CredentialError> {
    match portals.get(portal.as_str()) {
        None => Ok(None),
        Some(value) => match Tokens::of_value(value) {
            Some(tokens) => Ok(Some(tokens)),
            None => Err("the token file holds something else under this portal".into()),
        },
    }
}

fn read_file(path: &Path) -> Result<Map<String, Value>, CredentialError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(error.into()),
    };
    // The parser's own error may repeat what it read.
    serde_json::from_slice(&text).map_err(|_| "the token file is not a JSON object".into())
}

/// Writes beside the file, makes sure that it is on the disk, and puts it in the file's place:
/// whoever reads sees the old pair or the new one, and so does who comes after a power cut.
fn write_file(path: &Path, portals: &Map<String, Value>) -> Result<(), CredentialError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(beside)?;
    serde_json::to_writer_pretty(&mut file, portals)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(name: &str) -> Tokens {
        Tokens::new(format!("a-{name}"), format!("r-{name}"), "https://a.example/rest/").unwrap()
    }

    fn wait<T>(future: CredentialFuture<'_, T>) -> Result<T, CredentialError> {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// A folder that is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("bizproc-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn a_pair_is_stored_only_over_the_one_it_replaces(store: &dyn TokenStore) {
        let (one, two) = (PortalId::from("one"), PortalId::from("two"));
        let (old, new) = (tokens("old"), tokens("new"));
        assert_eq!(wait(store.load(&one)).unwrap(), None);
        assert!(!wait(store.swap(&one, Some(&old), &new)).unwrap());
        assert!(wait(store.swap(&one, None, &old)).unwrap());
        assert!(!wait(store.swap(&one, None, &new)).unwrap());
        assert!(wait(store.swap(&one, Some(&old), &new)).unwrap());
        assert!(!wait(store.swap(&one, Some(&old), &old)).unwrap());
        assert_eq!(wait(store.load(&one)).unwrap(), Some(new));
        assert_eq!(wait(store.load(&two)).unwrap(), None);
    }

    #[test]
    fn memory_compares_and_stores() {
        a_pair_is_stored_only_over_the_one_it_replaces(&MemoryStore::new());
    }

    #[test]
    fn a_file_compares_and_stores_and_is_read_again() {
        let folder = Folder::new("swap");
        let path = folder.0.join("tokens.json");
        a_pair_is_stored_only_over_the_one_it_replaces(&FileStore::new(&path));
        let again = FileStore::new(&path);
        assert_eq!(wait(again.load(&PortalId::from("one"))).unwrap(), Some(tokens("new")));
        assert!(!format!("{again:?} {:?}", tokens("new")).contains("a-new"));
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_is_damaged_is_an_error_and_stays_as_it_is() {
        let folder = Folder::new("damaged");
        let path = folder.0.join("tokens.json");
        let (portal, store) = (PortalId::from("one"), FileStore::new(&path));
        for text in ["", "s3cret", "[1]", "{\"one\":{\"access_token\":\"s3cret\"}}", "{\"one\":7}"]
        {
            fs::write(&path, text).unwrap();
            for error in [
                wait(store.load(&portal)).map(|_| ()),
                wait(store.swap(&portal, None, &tokens("new"))).map(|_| ()),
            ] {
                let error = error.unwrap_err();
                assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn concurrent_stores_agree_on_one_pair() {
        let folder = Folder::new("race");
        let store = FileStore::new(folder.0.join("tokens.json"));
        let portal = PortalId::from("one");
        let stored: Vec<bool> = thread::scope(|scope| {
            let swap = |n: usize| {
                let (store, portal) = (store.clone(), portal.clone());
                scope.spawn(move || {
                    wait(store.swap(&portal, None, &tokens(&n.to_string()))).unwrap()
                })
            };
            let threads: Vec<_> = (0..8).map(swap).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(stored.iter().filter(|&&stored| stored).count(), 1);
    }

    /// Each portal's first call made a thread of its own, that waited for the file.
    #[test]
    fn many_portals_at_once_wait_without_threads() {
        let folder = Folder::new("many");
        let store = FileStore::new(folder.0.join("tokens.json"));
        let held = store.path.lock().unwrap();
        let portals: Vec<_> = (0..50).map(|n| PortalId::from(format!("{n}"))).collect();
        let mut loads: Vec<_> = portals.iter().map(|portal| store.load(portal)).collect();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for load in &mut loads {
            assert!(load.as_mut().poll(&mut context).is_pending());
        }
        // One of them is at work, on the only thread.
        assert_eq!(store.at_work.available_permits(), 0);
        drop(held);
        for load in loads {
            assert!(wait(load).unwrap().is_none());
        }
        assert_eq!(store.at_work.available_permits(), 1);
    }

    #[test]
    fn a_store_that_panics_is_an_error() {
        assert!(wait(on_thread::<()>(|| panic!("on purpose"))).is_err());
    }
}
