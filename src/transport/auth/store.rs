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
use tokio::sync::oneshot;

use super::tokens::Tokens;
use crate::line::PortalId;

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
    /// The tokens of this portal, if there are any.
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>>;

    /// Stores `new` if the portal's pair is `expected` (`None`: it has none) at that moment, and
    /// says whether it did. Compare and store must be one step for all who share the store.
    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool>;

    /// Removes the tokens of this portal, if there are any: the app was removed from it.
    fn remove<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, ()>;
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

    fn remove<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, ()> {
        (**self).remove(portal)
    }
}

/// Runs work that blocks on a thread of its own, for stores whose client is not async.
pub fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CredentialError> + Send + 'static,
) -> CredentialFuture<'static, T> {
    let (reply, answer) = oneshot::channel();
    let started = thread::Builder::new().name("bizproc-store".to_owned()).spawn(move || {
        // Nobody waits any more: the timeout has passed.
        let _ = reply.send(work());
    });
    Box::pin(async move {
        started?;
        answer.await.map_err(|_| "the store's thread panicked")?
    })
}

/// Keeps tokens and installations for as long as the process runs. For tests, and for apps that
/// portals install anew.
#[derive(Default)]
pub struct MemoryStore(Mutex<HashMap<PortalId, Kept>>);

/// What is kept of one portal.
#[derive(Default)]
struct Kept {
    tokens: Option<Tokens>,
    /// As JSON: what it holds is no business of a store.
    installation: Option<String>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        MemoryStore::default()
    }

    fn with<T>(&self, portal: &PortalId, work: impl FnOnce(&mut Kept) -> T) -> T {
        // Each change is whole whatever panicked beside it.
        let mut portals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = portals.entry(portal.clone()).or_default();
        let answer = work(kept);
        if kept.tokens.is_none() && kept.installation.is_none() {
            portals.remove(portal);
        }
        answer
    }

    pub(crate) fn installation(&self, portal: &PortalId) -> Option<String> {
        self.with(portal, |kept| kept.installation.clone())
    }

    /// Puts `new` in the place of `expected`, and says whether that was there.
    pub(crate) fn swap_installation(
        &self,
        portal: &PortalId,
        expected: Option<&str>,
        new: Option<String>,
    ) -> bool {
        self.with(portal, |kept| {
            let swapped = kept.installation.as_deref() == expected;
            if swapped {
                kept.installation = new;
            }
            swapped
        })
    }
}

impl TokenStore for MemoryStore {
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        Box::pin(ready(Ok(self.with(portal, |kept| kept.tokens.clone()))))
    }

    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool> {
        let swapped = self.with(portal, |kept| {
            let swapped = kept.tokens.as_ref() == expected;
            if swapped {
                kept.tokens = Some(new.clone());
            }
            swapped
        });
        Box::pin(ready(Ok(swapped)))
    }

    fn remove<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, ()> {
        self.with(portal, |kept| kept.tokens = None);
        Box::pin(ready(Ok(())))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

/// Keeps tokens and installations in a JSON file, readable by its owner only and always whole: it is
/// written beside and then renamed. For one process: replicas need a store that all of them share, a
/// database.
///
/// A file that is no JSON object is moved aside, to a name that ends in `.damaged`, and a new one is
/// begun. What stands under one portal and is of no use is passed over, and replaced by the portal's
/// next tokens; other portals' are left as they are. Both are reported through `tracing` at target
/// `tracing_bizproc`.
#[derive(Clone, Debug)]
pub struct FileStore(Arc<Mutex<PathBuf>>);

impl FileStore {
    /// Keeps them in this file, which is made when there is something to store. Its folder must
    /// exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        FileStore(Arc::new(Mutex::new(path.into())))
    }

    /// Runs `work` on the file's path, on a thread, one at a time.
    fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, CredentialError> + Send + 'static,
    ) -> CredentialFuture<'static, T> {
        let path = Arc::clone(&self.0);
        on_thread(move || work(&path.lock().unwrap_or_else(PoisonError::into_inner)))
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

    /// Puts `new` in the place of `expected`, and says whether that was there.
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

/// The name under which a portal's installation stands, beside its tokens.
const INSTALLATION: &str = "installation";

/// Leaves nothing but the installation.
fn take_tokens(kept: &mut Map<String, Value>) {
    kept.retain(|name, _| name == INSTALLATION);
}

/// Changes what is kept of a portal, and nothing else.
fn change(
    portals: &mut Map<String, Value>,
    portal: &PortalId,
    work: impl FnOnce(&mut Map<String, Value>),
) {
    let mut kept = match portals.remove(portal.as_str()) {
        Some(Value::Object(kept)) => kept,
        // What else there may be is of no use to anybody.
        _ => Map::new(),
    };
    work(&mut kept);
    if !kept.is_empty() {
        portals.insert(portal.as_str().to_owned(), Value::Object(kept));
    }
}

/// The portal's tokens, if they are any.
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
            "the token file holds something of no use under this portal; it is passed over until \
             new tokens come"
        );
    }
    tokens
}

fn read_file(path: &Path) -> Result<Map<String, Value>, CredentialError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(error.into()),
    };
    // The parser's own error may repeat what it read.
    if let Ok(portals) = serde_json::from_slice(&text) {
        return Ok(portals);
    }
    let aside = set_aside(path)?;
    tracing::warn!(
        target: "tracing_bizproc",
        parent: None,
        aside = %aside.display(),
        "the token file was no JSON object: it was moved aside, and a new one is begun; portals' next \
         requests bring new tokens"
    );
    Ok(Map::new())
}

/// Moves a file that cannot be read out of the way, over none that was moved before.
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
    Err("the token file is damaged, and a thousand such files lie beside it already".into())
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
    fn a_file_that_is_damaged_is_moved_aside_and_begun_anew() {
        let folder = Folder::new("damaged");
        let path = folder.0.join("tokens.json");
        let (portal, store) = (PortalId::from("one"), FileStore::new(&path));
        for (n, text) in ["", "s3cret", "[1]", "{\"one\":{\"access_"].into_iter().enumerate() {
            fs::write(&path, text).unwrap();
            assert_eq!(wait(store.load(&portal)).unwrap(), None, "{text}");
            assert!(wait(store.swap(&portal, None, &tokens("new"))).unwrap(), "{text}");
            assert_eq!(wait(store.load(&portal)).unwrap(), Some(tokens("new")));
            let name = if n == 0 { "damaged".to_owned() } else { format!("damaged-{n}") };
            let aside = folder.0.join(format!("tokens.json.{name}"));
            assert_eq!(fs::read_to_string(aside).unwrap(), text);
        }
    }

    /// An empty refresh token was stored once, and from then on nothing could be loaded.
    #[test]
    fn what_is_of_no_use_is_replaced_and_touches_no_other_portal() {
        let folder = Folder::new("poisoned");
        let path = folder.0.join("tokens.json");
        let (one, two) = (PortalId::from("one"), PortalId::from("two"));
        let store = FileStore::new(&path);
        assert!(wait(store.swap(&two, None, &tokens("two"))).unwrap());
        let good = fs::read_to_string(&path).unwrap();
        for poison in [r#"{"access_token":"s3cret"}"#, "7", "null", r#"{"access_token":""}"#] {
            fs::write(&path, good.replacen('{', &format!("{{\"one\":{poison},"), 1)).unwrap();
            assert_eq!(wait(store.load(&one)).unwrap(), None, "{poison}");
            assert_eq!(wait(store.load(&two)).unwrap(), Some(tokens("two")), "{poison}");
            assert!(wait(store.swap(&one, None, &tokens("new"))).unwrap(), "{poison}");
            for (portal, name) in [(&one, "new"), (&two, "two")] {
                assert_eq!(wait(store.load(portal)).unwrap(), Some(tokens(name)), "{poison}");
            }
            wait(store.remove(&one)).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), good);
    }

    #[test]
    fn tokens_that_are_removed_are_gone_and_the_installation_stays() {
        let folder = Folder::new("removed");
        let portal = PortalId::from("one");
        let (file, memory) = (FileStore::new(folder.0.join("app.json")), MemoryStore::new());
        let kept = Value::from("kept");
        assert!(wait(file.swap_installation(&portal, None, Some(kept.clone()))).unwrap());
        assert!(!wait(file.swap_installation(&portal, None, None)).unwrap());
        assert!(memory.swap_installation(&portal, None, Some("kept".to_owned())));
        let stores: [&dyn TokenStore; 2] = [&file, &memory];
        for store in stores {
            assert_eq!(wait(store.load(&portal)).unwrap(), None);
            assert!(wait(store.swap(&portal, None, &tokens("new"))).unwrap());
            wait(store.remove(&portal)).unwrap();
            wait(store.remove(&PortalId::from("unknown"))).unwrap();
            assert_eq!(wait(store.load(&portal)).unwrap(), None);
        }
        assert_eq!(wait(file.installation(&portal)).unwrap(), Some(kept));
        assert_eq!(memory.installation(&portal).as_deref(), Some("kept"));
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

    #[test]
    fn a_store_that_panics_is_an_error() {
        assert!(wait(on_thread::<()>(|| panic!("on purpose"))).is_err());
    }
}
