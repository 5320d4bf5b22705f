//! Where the tokens of portals are kept between runs, and between replicas.

use std::collections::HashMap;
use std::error::Error;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, thread};

use tokio::sync::oneshot;

use super::tokens::Tokens;
use crate::line::PortalId;
use crate::thread_role::mark_helper_thread;

mod file;

pub use self::file::FileStore;

/// What went wrong in a store or a provider. It is reported, so it must not contain a secret.
///
/// ```
/// use tracing_bizproc::auth::CredentialError;
///
/// // Any error, or a text.
/// let error: CredentialError = "the database is away".into();
/// assert_eq!(error.to_string(), "the database is away");
/// ```
pub type CredentialError = Box<dyn Error + Send + Sync>;

/// The answer of a store or a provider.
///
/// ```
/// use tracing_bizproc::auth::CredentialFuture;
///
/// fn answer() -> CredentialFuture<'static, u32> {
///     Box::pin(async { Ok(42) })
/// }
/// # drop(answer);
/// ```
pub type CredentialFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, CredentialError>> + Send + 'a>>;

/// Where the tokens of portals are stored.
///
/// A refresh token works once. So a new pair is stored before it is used, and only if the stored pair is
/// still the one that it replaces. So replicas that share a store agree on one pair.
///
/// The futures are awaited on the worker's thread, each for as long as
/// [`OAuth::store_timeout`](super::OAuth::store_timeout) says. If the client of a store blocks, use
/// [`on_thread`]. No call is made per line or per request: a portal's pair is loaded once, and again
/// when it has been refused.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use tracing_bizproc::PortalId;
/// use tracing_bizproc::auth::{CredentialFuture, TokenStore, Tokens};
///
/// struct Table(Mutex<HashMap<PortalId, Tokens>>);
///
/// impl TokenStore for Table {
///     fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
///         Box::pin(async move {
///             let rows = self.0.lock().map_err(|_| "the table is broken")?;
///             Ok(rows.get(portal).cloned())
///         })
///     }
///
///     fn swap<'a>(
///         &'a self,
///         portal: &'a PortalId,
///         expected: Option<&'a Tokens>,
///         new: &'a Tokens,
///     ) -> CredentialFuture<'a, bool> {
///         Box::pin(async move {
///             // In a database: one `UPDATE .. WHERE refresh_token = $expected`.
///             let mut rows = self.0.lock().map_err(|_| "the table is broken")?;
///             if rows.get(portal) != expected {
///                 return Ok(false);
///             }
///             rows.insert(portal.clone(), new.clone());
///             Ok(true)
///         })
///     }
///
///     fn remove<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, ()> {
///         Box::pin(async move {
///             self.0.lock().map_err(|_| "the table is broken")?.remove(portal);
///             Ok(())
///         })
///     }
/// }
/// ```
///
/// `examples/oauth_store.rs` has one in SQLite.
pub trait TokenStore: Send + Sync + 'static {
    /// The tokens of this portal, if there are any.
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>>;

    /// Stores `new` if the portal's pair is `expected` at that moment (`None`: it has no pair), and
    /// returns whether it did. Compare and store have to be one atomic step for all processes that share
    /// the store.
    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool>;

    /// Removes the tokens of this portal, if there are any: the app was removed from it.
    fn remove<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, ()>;

    /// Whether tokens outlive the process. What is kept on disk (`Builder::spool`) needs that: without
    /// tokens the next run could not deliver it. `true` unless a store says otherwise.
    fn lasts(&self) -> bool {
        true
    }
}

impl<T: TokenStore + ?Sized> TokenStore for Arc<T> {
    fn lasts(&self) -> bool {
        (**self).lasts()
    }

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

/// Runs blocking work on its own thread, for stores whose client is not async.
///
/// Delivery waits for this work, so the work must not wait for delivery: a flush or the end of an
/// activity fails there at once with
/// [`WorkerError::DeliveryThread`](crate::error::WorkerError::DeliveryThread).
///
/// ```
/// use tracing_bizproc::auth::{CredentialFuture, on_thread};
///
/// fn secret() -> CredentialFuture<'static, String> {
///     on_thread(|| Ok(std::fs::read_to_string("/run/secrets/bitrix24")?))
/// }
/// # drop(secret);
/// ```
pub fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CredentialError> + Send + 'static,
) -> CredentialFuture<'static, T> {
    let (reply, answer) = oneshot::channel();
    let started = thread::Builder::new().name("bizproc-store".to_owned()).spawn(move || {
        mark_helper_thread();
        // The receiver was dropped after a timeout.
        let _ = reply.send(work());
    });
    Box::pin(async move {
        started?;
        answer.await.map_err(|_| "the store's thread panicked")?
    })
}

/// Keeps tokens and installations as long as the process runs. For tests, and for apps that portals can
/// install again.
///
/// ```
/// use std::sync::Arc;
/// use tracing_bizproc::auth::{MemoryStore, OAuth};
///
/// // `Installations` gets the other clone.
/// let store = Arc::new(MemoryStore::new());
/// let oauth = OAuth::new("local.5e4a77", "the app's secret", Arc::clone(&store));
/// # drop(oauth);
/// ```
#[derive(Default)]
pub struct MemoryStore(Mutex<HashMap<PortalId, Kept>>);

/// What is kept of one portal.
#[derive(Default)]
struct Kept {
    tokens: Option<Tokens>,
    /// As JSON, because a store does not need its parts.
    installation: Option<String>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        MemoryStore::default()
    }

    fn with<T>(&self, portal: &PortalId, work: impl FnOnce(&mut Kept) -> T) -> T {
        // No code panics in the middle of a change, so the map is consistent also if it is poisoned.
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

    /// Replaces `expected` with `new`. Returns whether `expected` was there.
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
    fn lasts(&self) -> bool {
        false
    }

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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use serde_json::Value;

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
    fn a_damaged_file_is_renamed_and_a_new_one_is_used() {
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

    /// Regression: an empty refresh token was stored, and after that nothing could be loaded.
    #[test]
    fn unreadable_tokens_are_replaced_and_other_portals_are_not_affected() {
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

    /// Regression: each store had a lock of its own, so changes of the one overwrote those of the other, or damaged
    /// the file.
    #[test]
    fn stores_of_one_file_in_one_process_do_not_overwrite_each_other() {
        let folder = Folder::new("twice");
        let path = folder.0.join("app.json");
        thread::scope(|scope| {
            for n in 0..4 {
                let path = path.clone();
                scope.spawn(move || {
                    // The same file by another way.
                    let path = path.parent().unwrap().join(".").join("app.json");
                    let store = FileStore::new(path);
                    for m in 0..5 {
                        let portal = PortalId::from(format!("{n}-{m}"));
                        assert!(wait(store.swap(&portal, None, &tokens("x"))).unwrap());
                    }
                });
            }
        });
        let stored: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(stored.as_object().unwrap().len(), 20);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing is left beside it");
    }

    /// A process that is being replaced may write at the same time as the new one. Changes may be lost, but the file
    /// is never damaged.
    #[test]
    fn writers_of_two_processes_use_different_files() {
        let folder = Folder::new("replaced");
        let path = folder.0.join("app.json");
        // What another process has half written.
        let theirs = folder.0.join("app.json.new");
        fs::write(&theirs, "{\"one\":{").unwrap();
        let store = FileStore::new(&path);
        assert!(wait(store.swap(&PortalId::from("one"), None, &tokens("new"))).unwrap());
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "{\"one\":{");
    }

    /// Regression: the first call of each portal started a thread that waited for the file.
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
        // One of them runs, on the only thread.
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
