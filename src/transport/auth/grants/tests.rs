use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;
use crate::protocol::Reply;
use crate::protocol::command::activity_log;
use crate::protocol::reply::Code;
use crate::transport::auth::store::{MemoryStore, TokenStore};
use crate::transport::auth::{Credentials, Hosts};
use crate::transport::http::{Http, HttpOptions};
use crate::transport::stand_in::Server;
use crate::transport::{Confirmed, Question, Transport};

const SECRET: &str = "cl1entsecret";

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn portal() -> PortalId {
    PortalId::from("member")
}

/// A portal that accepts the access tokens in the list, which may change.
fn portal_server(taken: impl Fn() -> String + Send + 'static) -> Server {
    Server::new(move |request| {
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        if body["auth"] == taken() {
            (200, String::new(), json!({"result": true}).to_string())
        } else {
            (401, String::new(), json!({"error": "expired_token"}).to_string())
        }
    })
}

/// An authorization server that renews `r1` to a pair `a2`, `r2`, and so on.
fn authorization() -> Server {
    let mut generation = 1;
    Server::new(move |request| {
        if request.contains(&format!("refresh_token=r{generation}")) {
            generation += 1;
            let pair = json!({
                "access_token": format!("a{generation}"), "refresh_token": format!("r{generation}"),
                "expires": 1_700_000_000 + 3_600 * generation, "domain": "oauth.bitrix.info",
            });
            (200, String::new(), pair.to_string())
        } else {
            (400, String::new(), json!({"error": "invalid_grant"}).to_string())
        }
    })
}

fn answering(status: u16, body: &str) -> Server {
    let body = body.to_owned();
    Server::new(move |_| (status, String::new(), body.clone()))
}

fn tokens(generation: u32, at: &Server) -> Tokens {
    let endpoint = format!("http://{}/rest/", at.host());
    Tokens::new(format!("a{generation}"), format!("r{generation}"), &endpoint)
        .unwrap()
        .expires_at(UNIX_EPOCH + Duration::from_secs(1_700_000_000 + 3_600 * u64::from(generation)))
}

fn with_request(tokens: Tokens) -> Arrived {
    Arrived::WithRequest(tokens)
}

/// A pair without a time of expiry.
fn timeless(generation: u32, at: &Server) -> Tokens {
    tokens(generation, at).expires_at(UNIX_EPOCH)
}

fn store_with(tokens: &Tokens) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    assert!(run(store.swap(&portal(), None, tokens)).unwrap());
    store
}

fn app(server: &Server, store: impl TokenStore) -> OAuth {
    OAuth::new("app.1", SECRET, store)
        .authorization_server(&format!("http://{}/oauth/token/", server.host()))
        .unwrap()
}

fn http(oauth: OAuth) -> Http {
    Http::new(oauth, HttpOptions::default()).unwrap()
}

async fn status(http: &Http) -> u16 {
    match http.call(Some(&portal()), activity_log("t", "m")).await {
        Reply::Http { status, .. } => status,
        reply => panic!("{reply:?}"),
    }
}

fn denied(code: &str) -> Refreshed {
    Refreshed::Denied(Code(code.to_owned()))
}

#[test]
fn an_expired_token_is_renewed_once_and_stored() {
    let (server, site) = (authorization(), portal_server(|| "a2".to_owned()));
    let store = store_with(&tokens(1, &site));
    let http = http(app(&server, Arc::clone(&store)));
    run(async {
        assert_eq!(status(&http).await, 401);
        assert_eq!(http.refresh(Some(&portal())).await, Refreshed::Renewed);
        assert_eq!(status(&http).await, 200);
    });
    assert_eq!(run(store.load(&portal())).unwrap(), Some(tokens(2, &site)));
    assert_eq!(server.requests().len(), 1);
    let asked = &server.requests()[0];
    assert!(asked.starts_with("POST /oauth/token/ HTTP/1.1\r\n"), "{asked}");
    assert!(asked.ends_with("client_id=app.1&client_secret=cl1entsecret&refresh_token=r1"));
    for request in site.requests() {
        assert!(request.starts_with("POST /rest/bizproc.activity.log HTTP/1.1\r\n"), "{request}");
        assert!(!request.contains(SECRET) && !request.contains("\"r1\""), "{request}");
    }
}

#[test]
fn callers_that_wait_for_a_renewal_share_it() {
    let (server, site) = (authorization(), portal_server(|| "a2".to_owned()));
    let http = http(app(&server, store_with(&tokens(1, &site))));
    run(async {
        assert_eq!(status(&http).await, 401);
        let portal = portal();
        let refresh = || http.refresh(Some(&portal));
        let all = tokio::join!(refresh(), refresh(), refresh());
        assert_eq!(all, (Refreshed::Renewed, Refreshed::Renewed, Refreshed::Renewed));
    });
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_replica_uses_the_pair_that_another_has_stored() {
    let (server, site) = (authorization(), portal_server(|| "a2".to_owned()));
    let store = store_with(&tokens(1, &site));
    let one = http(app(&server, Arc::clone(&store)));
    let two = http(app(&server, store));
    run(async {
        for replica in [&one, &two] {
            assert_eq!(status(replica).await, 401);
        }
        for replica in [&one, &two] {
            assert_eq!(replica.refresh(Some(&portal())).await, Refreshed::Renewed);
            assert_eq!(status(replica).await, 200);
        }
    });
    assert_eq!(server.requests().len(), 1);
}

/// Both replicas use the same refresh token. The second one gets `invalid_grant`, and then finds the new
/// pair in the store.
#[test]
fn a_replica_that_came_second_reads_the_store_again() {
    let site = portal_server(|| "a2".to_owned());
    let store = store_with(&tokens(1, &site));
    let (others, theirs) = (Arc::clone(&store), tokens(2, &site));
    let mine = tokens(1, &site);
    let server = Server::new(move |_| {
        assert!(run(others.swap(&portal(), Some(&mine), &theirs)).unwrap());
        (400, String::new(), json!({"error": "invalid_grant"}).to_string())
    });
    let http = http(app(&server, store));
    run(async {
        assert_eq!(status(&http).await, 401);
        assert_eq!(http.refresh(Some(&portal())).await, Refreshed::Renewed);
        assert_eq!(status(&http).await, 200);
    });
}

/// A store that stores a pair only when it was read so often.
struct Slow {
    store: MemoryStore,
    reads: AtomicUsize,
    enough: usize,
}

impl TokenStore for Slow {
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.store.load(portal)
    }

    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool> {
        Box::pin(async move {
            while self.reads.load(Ordering::SeqCst) < self.enough {
                tokio::task::yield_now().await;
            }
            self.store.swap(portal, expected, new).await
        })
    }

    fn remove<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, ()> {
        self.store.remove(portal)
    }
}

/// Between the answer of the authorization server and that of the store there is a moment in which the old
/// refresh token is used and the new pair is not stored yet. A replica that asked in this moment gave up its
/// portal, and waited for a minute.
#[test]
fn a_replica_waits_for_the_pair_that_another_is_about_to_store() {
    let (server, site) = (authorization(), portal_server(|| "a2".to_owned()));
    let store = MemoryStore::new();
    assert!(run(store.swap(&portal(), None, &tokens(1, &site))).unwrap());
    // Each replica reads the pair for its first call and for its renewal. The one that is denied reads it
    // again, and finds the old one.
    let store = Arc::new(Slow { store, reads: AtomicUsize::new(0), enough: 5 });
    let one = http(app(&server, Arc::clone(&store)));
    let two = http(app(&server, store));
    run(async {
        for replica in [&one, &two] {
            assert_eq!(status(replica).await, 401);
        }
        let portal = portal();
        let both = tokio::join!(one.refresh(Some(&portal)), two.refresh(Some(&portal)));
        assert_eq!(both, (Refreshed::Renewed, Refreshed::Renewed));
        for replica in [&one, &two] {
            assert_eq!(status(replica).await, 200);
        }
    });
    assert_eq!(server.requests().len(), 2);
}

/// The authorization server gave both replicas a pair: all use the one that was stored first.
#[test]
fn a_pair_that_was_stored_meanwhile_is_used_by_all() {
    let site = portal_server(|| "a9".to_owned());
    let store = store_with(&tokens(1, &site));
    let (others, mine, theirs) = (Arc::clone(&store), tokens(1, &site), tokens(9, &site));
    let server = Server::new(move |_| {
        assert!(run(others.swap(&portal(), Some(&mine), &theirs)).unwrap());
        let pair = json!({"access_token": "a2", "refresh_token": "r2"});
        (200, String::new(), pair.to_string())
    });
    let http = http(app(&server, Arc::clone(&store)));
    run(async {
        assert_eq!(status(&http).await, 401);
        assert_eq!(http.refresh(Some(&portal())).await, Refreshed::Renewed);
        assert_eq!(status(&http).await, 200);
    });
    assert_eq!(run(store.load(&portal())).unwrap(), Some(tokens(9, &site)));
}

#[test]
fn a_denied_grant_is_not_asked_for_again_until_new_tokens_arrive() {
    let (server, site) = (authorization(), portal_server(|| "a9".to_owned()));
    let store = store_with(&tokens(5, &site));
    let http = http(app(&server, Arc::clone(&store)));
    run(async {
        for _ in 0..3 {
            assert_eq!(status(&http).await, 401);
            assert_eq!(http.refresh(Some(&portal())).await, denied("invalid_grant"));
        }
        assert_eq!(server.requests().len(), 1);
        assert_eq!(http.accept(&portal(), with_request(tokens(9, &site))).await, Ok(true));
        assert_eq!(status(&http).await, 200);
    });
    assert_eq!(run(store.load(&portal())).unwrap(), Some(tokens(9, &site)));
}

#[test]
fn tokens_that_are_about_as_fresh_are_not_taken_over() {
    let (server, site) = (authorization(), portal_server(|| "a3".to_owned()));
    let store = store_with(&tokens(1, &site));
    let http = http(app(&server, Arc::clone(&store)));
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let soon = tokens(2, &site).expires_at(at(1_700_003_600 + 60));
    run(async {
        assert_eq!(status(&http).await, 401);
        assert_eq!(http.accept(&portal(), with_request(soon)).await, Ok(false));
        assert_eq!(run_store(&store).await, Some(tokens(1, &site)));
        assert_eq!(http.accept(&portal(), with_request(tokens(3, &site))).await, Ok(true));
        assert_eq!(status(&http).await, 200);
    });
}

#[test]
fn tokens_that_do_not_say_when_they_expire_are_used_and_stored() {
    let (server, site) = (authorization(), portal_server(|| "a3".to_owned()));
    for (old, new) in [
        (tokens(1, &site), timeless(3, &site)),
        (timeless(1, &site), tokens(3, &site)),
        (timeless(1, &site), timeless(3, &site)),
    ] {
        let store = store_with(&old);
        let http = http(app(&server, Arc::clone(&store)));
        run(async {
            assert_eq!(status(&http).await, 401);
            assert_eq!(http.accept(&portal(), with_request(new.clone())).await, Ok(true));
            assert_eq!(status(&http).await, 200);
            assert_eq!(run_store(&store).await.as_ref(), Some(&new));
            assert_eq!(http.accept(&portal(), with_request(new)).await, Ok(false), "the same");
        });
    }
}

#[test]
fn tokens_that_the_app_hands_over_are_used_and_stored_whatever_they_say() {
    let (server, site) = (authorization(), portal_server(|| "a3".to_owned()));
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    for new in [timeless(3, &site), tokens(3, &site).expires_at(at(1_600_000_000))] {
        let store = store_with(&tokens(1, &site));
        let http = http(app(&server, Arc::clone(&store)));
        run(async {
            assert_eq!(status(&http).await, 401);
            assert_eq!(http.accept(&portal(), Arrived::Handed(new.clone())).await, Ok(true));
            assert_eq!(status(&http).await, 200);
            assert_eq!(run_store(&store).await, Some(new));
        });
    }
}

async fn run_store(store: &MemoryStore) -> Option<Tokens> {
    store.load(&portal()).await.unwrap()
}

#[test]
fn a_temporary_failure_of_the_authorization_server_is_repeated() {
    let site = portal_server(|| "a2".to_owned());
    let elsewhere = authorization();
    let location = format!("Location: http://{}/\r\n", elsewhere.host());
    for server in [
        answering(502, "<html>"),
        answering(200, ""),
        answering(503, "{\"error\":\"QUERY_LIMIT_EXCEEDED\"}"),
        Server::new(move |_| (302, location.clone(), String::new())),
    ] {
        let http = http(app(&server, store_with(&tokens(1, &site))));
        run(async {
            assert_eq!(status(&http).await, 401);
            for _ in 0..2 {
                let refreshed = http.refresh(Some(&portal())).await;
                let Refreshed::Later(trouble) = &refreshed else { panic!("{refreshed:?}") };
                assert!(!trouble.0.contains(SECRET) && !trouble.0.contains("r1"), "{trouble}");
            }
        });
        assert_eq!(server.requests().len(), 2);
    }
    assert!(elsewhere.requests().is_empty(), "the client secret goes to one host only");
}

/// A store that can be switched off. With `hangs` it then does not answer; otherwise it returns an error.
struct Moody {
    inner: MemoryStore,
    broken: Arc<AtomicBool>,
    hangs: bool,
}

impl TokenStore for Moody {
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        self.inner.load(portal)
    }

    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool> {
        match self.broken.load(Ordering::SeqCst) {
            true if self.hangs => Box::pin(pending()),
            true => Box::pin(async { Err("disk full".into()) }),
            false => self.inner.swap(portal, expected, new),
        }
    }

    fn remove<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, ()> {
        self.inner.remove(portal)
    }
}

/// Regression: new tokens arrived during a renewal of the old ones, and were used but not stored yet. The
/// refusal of the old tokens was counted for the new ones, so the portal was blocked.
#[test]
fn tokens_that_arrive_during_a_renewal_are_not_denied_with_the_old_ones() {
    let (server, site) = (authorization(), portal_server(|| "a9".to_owned()));
    let inner = MemoryStore::new();
    assert!(run(inner.swap(&portal(), None, &tokens(5, &site))).unwrap());
    let broken = Arc::new(AtomicBool::new(true));
    let http = http(app(&server, Moody { inner, broken, hangs: false }));
    run(async {
        assert_eq!(status(&http).await, 401);
        let portal = portal();
        let new = Arrived::Handed(tokens(9, &site));
        let (refreshed, accepted) =
            tokio::join!(http.refresh(Some(&portal)), http.accept(&portal, new));
        assert!(accepted.is_err(), "not stored");
        assert_eq!(server.requests().len(), 1, "the old ones were refused");
        assert_eq!(refreshed, Refreshed::Renewed);
        assert_eq!(status(&http).await, 200);
    });
}

#[test]
fn a_new_pair_is_not_used_before_it_is_stored_and_not_lost_either() {
    for hangs in [false, true] {
        let (server, site) = (authorization(), portal_server(|| "a2".to_owned()));
        let broken = Arc::new(AtomicBool::new(false));
        let store =
            Arc::new(Moody { inner: MemoryStore::new(), broken: Arc::clone(&broken), hangs });
        run(store.swap(&portal(), None, &tokens(1, &site))).unwrap();
        broken.store(true, Ordering::SeqCst);
        let oauth = app(&server, Arc::clone(&store)).store_timeout(Duration::from_millis(20));
        let http = http(oauth);
        run(async {
            assert_eq!(status(&http).await, 401);
            for _ in 0..2 {
                let refreshed = http.refresh(Some(&portal())).await;
                assert!(matches!(refreshed, Refreshed::Later(_)), "{refreshed:?}");
                assert_eq!(status(&http).await, 401, "the new pair is not stored yet");
            }
            broken.store(false, Ordering::SeqCst);
            assert_eq!(http.refresh(Some(&portal())).await, Refreshed::Renewed);
            assert_eq!(status(&http).await, 200);
        });
        assert_eq!(server.requests().len(), 1, "the refresh token works once");
        assert_eq!(run(store.load(&portal())).unwrap(), Some(tokens(2, &site)));
    }
}

/// Regression: tokens that could not be stored when they arrived were dropped when the access token expired: those
/// in the store were older, or there were none.
#[test]
fn tokens_that_could_not_be_stored_are_stored_later_and_renewed() {
    for former in [None, Some(7)] {
        let (server, site) = (authorization(), portal_server(|| "a2".to_owned()));
        let broken = Arc::new(AtomicBool::new(false));
        let store = Arc::new(Moody {
            inner: MemoryStore::new(),
            broken: Arc::clone(&broken),
            hangs: false,
        });
        if let Some(former) = former {
            let former = timeless(former, &site);
            assert!(run(store.swap(&portal(), None, &former)).unwrap());
        }
        broken.store(true, Ordering::SeqCst);
        let http = http(app(&server, Arc::clone(&store)));
        run(async {
            let arrived = with_request(tokens(1, &site));
            assert!(http.accept(&portal(), arrived).await.is_err(), "not stored");
            assert_eq!(status(&http).await, 401);
            let refreshed = http.refresh(Some(&portal())).await;
            assert!(matches!(refreshed, Refreshed::Later(_)), "{refreshed:?}");
            broken.store(false, Ordering::SeqCst);
            assert_eq!(http.refresh(Some(&portal())).await, Refreshed::Renewed);
            assert_eq!(status(&http).await, 200);
            assert_eq!(store.load(&portal()).await.unwrap(), Some(tokens(2, &site)));
        });
    }
}

/// The other side: what a replica has stored in the meantime is not replaced with older tokens.
#[test]
fn tokens_that_could_not_be_stored_do_not_replace_newer_ones() {
    let (server, site) = (authorization(), portal_server(|| "a5".to_owned()));
    let broken = Arc::new(AtomicBool::new(true));
    let inner = MemoryStore::new();
    let store = Arc::new(Moody { inner, broken: Arc::clone(&broken), hangs: false });
    let http = http(app(&server, Arc::clone(&store)));
    run(async {
        assert!(http.accept(&portal(), with_request(tokens(1, &site))).await.is_err());
        assert_eq!(status(&http).await, 401);
        broken.store(false, Ordering::SeqCst);
        assert!(store.swap(&portal(), None, &tokens(5, &site)).await.unwrap());
        assert_eq!(http.refresh(Some(&portal())).await, Refreshed::Renewed);
        assert_eq!(status(&http).await, 200);
        assert_eq!(store.load(&portal()).await.unwrap(), Some(tokens(5, &site)));
    });
    assert!(server.requests().is_empty());
}

/// A store in which the first change is overtaken by the next one.
#[derive(Default)]
struct Overtaken {
    store: MemoryStore,
    swaps: AtomicUsize,
    overtaken: AtomicBool,
}

impl TokenStore for Overtaken {
    fn load<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        self.store.load(portal)
    }

    fn swap<'a>(
        &'a self,
        portal: &'a PortalId,
        expected: Option<&'a Tokens>,
        new: &'a Tokens,
    ) -> CredentialFuture<'a, bool> {
        let is_first = self.swaps.fetch_add(1, Ordering::SeqCst) == 0;
        Box::pin(async move {
            while is_first && !self.overtaken.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            let swapped = self.store.swap(portal, expected, new).await;
            self.overtaken.store(true, Ordering::SeqCst);
            swapped
        })
    }

    fn remove<'a>(&'a self, portal: &'a PortalId) -> CredentialFuture<'a, ()> {
        let removed = self.store.remove(portal);
        self.overtaken.store(true, Ordering::SeqCst);
        removed
    }
}

/// Regression: the older ones were stored last, or after the app was removed.
#[test]
fn tokens_that_are_not_in_use_any_more_are_not_stored() {
    let (server, site) = (authorization(), portal_server(|| "a2".to_owned()));
    for removed in [false, true] {
        let store = Arc::new(Overtaken::default());
        assert!(run(store.store.swap(&portal(), None, &tokens(7, &site))).unwrap());
        let http = http(app(&server, Arc::clone(&store)));
        let portal = portal();
        let expected = run(async {
            let first = http.accept(&portal, Arrived::Handed(tokens(1, &site)));
            if removed {
                let (_, forgotten) = tokio::join!(first, http.forget(&portal));
                assert_eq!(forgotten, Ok(()));
                return None;
            }
            let second = http.accept(&portal, Arrived::Handed(tokens(2, &site)));
            assert_eq!(tokio::join!(first, second), (Ok(true), Ok(true)));
            Some(tokens(2, &site))
        });
        assert_eq!(run(store.load(&portal)).unwrap(), expected);
    }
}

#[test]
fn a_portal_without_tokens_is_not_called() {
    let (server, site) = (authorization(), portal_server(|| "a1".to_owned()));
    let http = http(app(&server, MemoryStore::new()));
    run(async {
        for named in [None, Some(portal())] {
            let reply = http.call(named.as_ref(), activity_log("t", "m")).await;
            assert!(matches!(reply, Reply::UnknownPortal(_)), "{reply:?}");
        }
        assert_eq!(http.refresh(Some(&portal())).await, denied("no tokens"));
        assert_eq!(http.accept(&portal(), with_request(tokens(1, &site))).await, Ok(true));
        assert_eq!(status(&http).await, 200);
    });
}

#[test]
fn spans_that_name_no_portal_go_to_the_default_one() {
    let (server, site) = (authorization(), portal_server(|| "a1".to_owned()));
    let oauth = app(&server, store_with(&tokens(1, &site))).default_portal(portal());
    let http = http(oauth);
    let reply = run(http.call(None, activity_log("t", "m")));
    assert!(matches!(reply, Reply::Http { status: 200, .. }), "{reply:?}");
}

#[test]
fn a_moved_portal_is_called_at_its_new_host_if_the_app_or_the_server_confirms_it() {
    let site = portal_server(|| "a2".to_owned());
    let new_host = site.host();
    let location = format!("Location: http://{new_host}/rest/\r\n");
    let old = Server::new(move |_| (302, location.clone(), String::new()));
    let says = |where_it_is: Option<&Server>| {
        let endpoint = where_it_is.map(|server| format!("http://{}/rest/", server.host()));
        Server::new(move |_| {
            let mut pair = json!({"access_token": "a2", "refresh_token": "r2"});
            if let Some(endpoint) = &endpoint {
                pair["client_endpoint"] = json!(endpoint);
            }
            (200, String::new(), pair.to_string())
        })
    };
    let refuses = || answering(400, r#"{"error":"invalid_grant"}"#);
    let listed = || Hosts::from([site.host()]);
    for (hosts, server, is_followed, asked) in [
        (listed(), refuses(), true, 0),
        (Hosts::default(), says(Some(&site)), true, 1),
        (Hosts::from(["other.example"]), says(Some(&old)), false, 1),
        (Hosts::default(), says(None), false, 1),
        (Hosts::default(), refuses(), false, 1),
    ] {
        let store = store_with(&tokens(1, &old));
        let http = http(app(&server, Arc::clone(&store)).hosts(hosts));
        run(async {
            let reply = http.call(Some(&portal()), activity_log("t", "m")).await;
            let Reply::Moved { host: Some(host) } = reply else { panic!("{reply:?}") };
            assert_eq!(host, site.host());
            let relocated = http.relocate(Some(&portal()), &host).await;
            let stored = store.load(&portal()).await.unwrap().unwrap();
            if is_followed {
                assert_eq!(relocated, Refreshed::Renewed);
                assert_eq!(stored.endpoint().host(), site.host());
            } else {
                let Refreshed::Denied(code) = relocated else { panic!("{relocated:?}") };
                assert!(code.0.contains(&host) && code.0.contains("OAuth::hosts"), "{code}");
                assert_eq!(stored.endpoint().host(), old.host());
            }
        });
        assert_eq!(server.requests().len(), asked);
    }
}

/// Credentials that cannot follow a renamed portal: the reply names the new host, and says what to do.
#[test]
fn a_renamed_portal_that_cannot_be_followed_is_named_with_advice() {
    let old =
        Server::new(|_| (302, "Location: https://new.example/rest/\r\n".into(), String::new()));
    let server = answering(500, "nobody asks");
    let alone = Tokens::new("a1", "", &format!("http://{}/rest/", old.host())).unwrap();
    let webhook =
        crate::auth::Webhook::new(format!("http://{}/rest/1/s3cret/", old.host())).unwrap();
    let given = crate::auth::Access::webhook(webhook.clone());
    let provider = Credentials::provider(Given(given));
    for (credentials, named) in [
        (Credentials::from(webhook), "webhook's URL"),
        (provider, "return this address"),
        (app(&server, store_with(&alone)).default_portal(portal()).into(), "OAuth::hosts"),
    ] {
        let http = Http::new(credentials, HttpOptions::default()).unwrap();
        let reply = run(http.call(None, activity_log("t", "m")));
        let Reply::Redirected(code) = &reply else { panic!("{reply:?}") };
        assert!(code.0.contains("new.example") && code.0.contains(named), "{code}");
        assert!(!format!("{reply:?}").contains("s3cret"));
    }
}

/// Gives one access.
struct Given(crate::auth::Access);

impl crate::auth::AccessProvider for Given {
    fn access<'a>(
        &'a self,
        _portal: Option<&'a PortalId>,
        _refused: Option<&'a crate::auth::Access>,
    ) -> CredentialFuture<'a, Option<crate::auth::Access>> {
        Box::pin(async { Ok(Some(self.0.clone())) })
    }
}

#[test]
fn credentials_show_no_secret() {
    let (server, site) = (authorization(), portal_server(|| "a1".to_owned()));
    let oauth = app(&server, store_with(&tokens(1, &site)));
    let shown = format!("{oauth:?} {:?} {:?}", Credentials::from(oauth.clone()), tokens(1, &site));
    assert!(!shown.contains(SECRET) && !shown.contains("a1") && !shown.contains("r1"), "{shown}");
    let kept = tokens(1, &site);
    assert_eq!(Tokens::from_json(&kept.to_json()), Some(kept));
    assert!(oauth.clone().authorization_server("http://evil.example/").is_err());
    assert!(oauth.authorization_server("oauth").is_err());
}

/// Regression: requests of isolated portals, which give no refresh token, were rejected, and the lane was
/// blocked.
#[test]
fn an_access_token_alone_is_used_while_it_lives_and_then_the_next_one() {
    let taken = Arc::new(std::sync::Mutex::new("a1"));
    let takes = Arc::clone(&taken);
    let site = portal_server(move || takes.lock().unwrap().to_string());
    let server = answering(500, "nobody asks");
    let alone = |n: u32| {
        Tokens::new(format!("a{n}"), "", &format!("http://{}/rest/", site.host())).unwrap()
    };
    let store = Arc::new(MemoryStore::new());
    let http = http(app(&server, Arc::clone(&store)));
    run(async {
        assert_eq!(http.accept(&portal(), with_request(alone(1))).await, Ok(true));
        assert_eq!(status(&http).await, 200);
        *taken.lock().unwrap() = "a2";
        assert_eq!(status(&http).await, 401);
        let Refreshed::Denied(code) = http.refresh(Some(&portal())).await else {
            panic!("renewed")
        };
        assert!(code.to_string().contains("no refresh token"), "{code}");
        assert_eq!(http.accept(&portal(), with_request(alone(2))).await, Ok(true));
        assert_eq!(status(&http).await, 200);
        assert_eq!(store.load(&portal()).await.unwrap(), Some(alone(2)));
    });
    assert!(server.requests().is_empty());
}

#[test]
fn a_pair_is_preferred_to_an_access_token_alone() {
    let site = portal_server(|| "a1".to_owned());
    let alone = Tokens::new("a9", "", &format!("http://{}/rest/", site.host())).unwrap();
    let pair = tokens(1, &site);
    assert!(is_worth_taking(&pair, &alone) && !is_worth_taking(&alone, &pair));
}

#[test]
fn a_portal_is_renewed_at_the_server_that_it_names_if_the_app_knows_that() {
    let (usual, regional, evil) = (authorization(), authorization(), authorization());
    for (named, asked) in [(&regional, &regional), (&evil, &usual)] {
        let site = portal_server(|| "a2".to_owned());
        let tokens = tokens(1, &site).server_endpoint(format!("http://{}/rest/", named.host()));
        let oauth = app(&usual, store_with(&tokens))
            .authorization_servers(Hosts::from([usual.host(), regional.host()]));
        let http = http(oauth);
        run(async {
            assert_eq!(status(&http).await, 401);
            assert_eq!(http.refresh(Some(&portal())).await, Refreshed::Renewed);
        });
        assert_eq!(asked.requests().len(), 1);
    }
    assert!(evil.requests().is_empty(), "the secret goes to no server that the app does not know");
}

#[test]
fn a_server_that_the_app_does_not_know_is_named_when_the_usual_one_refuses() {
    let usual = answering(400, r#"{"error":"invalid_grant"}"#);
    let site = portal_server(|| "a2".to_owned());
    let tokens = tokens(1, &site).server_endpoint("https://oauth.elsewhere.example/rest/");
    let http = http(app(&usual, store_with(&tokens)));
    run(async {
        assert_eq!(status(&http).await, 401);
        let Refreshed::Denied(code) = http.refresh(Some(&portal())).await else {
            panic!("renewed")
        };
        let code = code.to_string();
        assert!(
            code.contains("invalid_grant") && code.contains("oauth.elsewhere.example"),
            "{code}"
        );
    });
}

#[test]
fn plain_http_is_called_only_where_the_app_has_named_the_host() {
    let server = answering(500, "nobody asks");
    let tokens = Tokens::allow_http("a1", "r1", "http://box.invalid/rest/").unwrap();
    let reply = |oauth: OAuth| run(http(oauth).call(Some(&portal()), activity_log("t", "m")));
    let reply_without = reply(app(&server, store_with(&tokens)));
    assert!(matches!(&reply_without, Reply::UnknownPortal(why) if why.0.contains("allow_http")));
    let allowed = app(&server, store_with(&tokens)).allow_http(Hosts::from(["box.invalid"]));
    // It is called, but the host does not exist.
    assert!(matches!(
        reply(allowed),
        Reply::NotSent(_) | Reply::Http { .. } | Reply::Unanswered(_)
    ));
}

/// An authorization server that knows whose tokens are whose: `r-member` is of `member`.
fn knowing(endpoint: Option<String>) -> Server {
    Server::new(move |request| {
        let member = request.split("refresh_token=r-").nth(1).map(|rest| rest.to_owned());
        let Some(member) = member else {
            return (400, String::new(), json!({"error": "invalid_grant"}).to_string());
        };
        let mut pair = json!({
            "access_token": "a2", "refresh_token": "r2", "expires": 7_000, "member_id": member,
        });
        if let Some(endpoint) = &endpoint {
            pair["client_endpoint"] = json!(endpoint);
        }
        (200, String::new(), pair.to_string())
    })
}

#[test]
fn an_installation_is_confirmed_by_the_authorization_server_and_the_portal() {
    let (site, evil) = (portal_server(|| "a2".to_owned()), portal_server(|| "a2".to_owned()));
    let deaf = portal_server(|| "another".to_owned());
    let at = |server: &Server| format!("http://{}/rest/", server.host());
    let claimed = |refresh: &str, server: &Server| {
        Question::Install(Tokens::new("a1", refresh, &at(server)).unwrap())
    };
    let server = knowing(Some(at(&site)));
    let ask = |server: &Server, listed: &[&Server], question: Question| {
        let hosts = listed.iter().map(|server| server.host()).collect::<Hosts>();
        let http = http(app(server, MemoryStore::new()).hosts(hosts));
        run(http.confirm(&portal(), question))
    };
    let is_no = |answer: Confirmed, part: &str| {
        assert!(matches!(&answer, Confirmed::No(code) if code.0.contains(part)), "{answer:?}");
    };
    let Confirmed::Yes(endpoint, Some(tokens)) = ask(&server, &[], claimed("r-member", &site))
    else {
        panic!("not confirmed")
    };
    assert_eq!((endpoint.host(), tokens.access()), (site.host(), "a2"));
    // The host in the request does not matter: the server says where the portal is.
    let Confirmed::Yes(endpoint, _) = ask(&server, &[], claimed("r-member", &evil)) else {
        panic!("not confirmed")
    };
    assert_eq!(endpoint.host(), site.host());
    is_no(ask(&server, &[], claimed("r-other", &site)), "another portal");
    is_no(ask(&server, &[], claimed("guessed", &site)), "invalid_grant");
    is_no(ask(&knowing(None), &[], claimed("r-member", &evil)), "does not say where");
    is_no(ask(&knowing(Some(at(&deaf))), &[], claimed("r-member", &deaf)), "expired_token");
    // Without a refresh token, only the app's own list counts.
    is_no(ask(&server, &[], claimed("", &evil)), "OAuth::hosts");
    let alone = Question::Install(Tokens::new("a2", "", &at(&site)).unwrap());
    assert!(matches!(ask(&server, &[&site], alone), Confirmed::Yes(..)));
    assert!(evil.requests().is_empty(), "nobody calls a host because a request names it");
    let gone = Server::new(|_| (502, String::new(), String::new()));
    assert!(matches!(ask(&gone, &[], claimed("r-member", &site)), Confirmed::Later(_)));
}

/// A portal does not send the event of its installation again.
#[test]
fn a_temporary_failure_of_the_server_does_not_fail_an_installation() {
    let site = portal_server(|| "a2".to_owned());
    let endpoint = format!("http://{}/rest/", site.host());
    let (pair, mut asked) = (endpoint.clone(), 0);
    let server = Server::new(move |_| {
        asked += 1;
        if asked < 3 {
            return (502, String::new(), "<html>".to_owned());
        }
        let pair = json!({
            "access_token": "a2", "refresh_token": "r2", "member_id": "member",
            "client_endpoint": pair,
        });
        (200, String::new(), pair.to_string())
    });
    let http = http(app(&server, MemoryStore::new()));
    let tokens = Tokens::new("a1", "r1", &endpoint).unwrap();
    let answer = run(http.confirm(&portal(), Question::Install(tokens)));
    assert!(matches!(answer, Confirmed::Yes(_, Some(_))), "{answer:?}");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_new_host_is_accepted_if_the_app_lists_it_or_the_authorization_server_confirms_it() {
    let site = portal_server(|| "a2".to_owned());
    let at = |server: &Server| Endpoint::parse(&format!("http://{}/rest/", server.host())).unwrap();
    let server = knowing(Some(at(&site).as_str().to_owned()));
    let ask = |hosts: Hosts, refresh: Option<&str>| {
        let tokens = refresh.map(|refresh| Tokens::new("a1", refresh, at(&site).as_str()).unwrap());
        let http = http(app(&server, MemoryStore::new()).hosts(hosts));
        run(http.confirm(&portal(), Question::Renamed(at(&site), tokens)))
    };
    let asked = || server.requests().len();
    // A listed host is accepted without a question, with any tokens.
    assert!(matches!(ask(Hosts::from([site.host()]), None), Confirmed::Yes(_, None)));
    assert!(matches!(ask(Hosts::from([site.host()]), Some("guessed")), Confirmed::Yes(..)));
    assert_eq!(asked(), 0);
    assert!(matches!(ask(Hosts::default(), None), Confirmed::No(_)));
    assert!(matches!(ask(Hosts::default(), Some("guessed")), Confirmed::No(_)));
    assert!(matches!(ask(Hosts::default(), Some("r-other")), Confirmed::No(_)));
    assert!(matches!(ask(Hosts::default(), Some("r-member")), Confirmed::Yes(..)));
}

#[test]
fn a_portal_that_is_forgotten_has_no_tokens() {
    let (server, site) = (authorization(), portal_server(|| "a1".to_owned()));
    let store = store_with(&tokens(1, &site));
    let http = http(app(&server, Arc::clone(&store)));
    run(async {
        assert_eq!(status(&http).await, 200);
        assert_eq!(http.forget(&portal()).await, Ok(()));
        assert_eq!(store.load(&portal()).await.unwrap(), None);
        let reply = http.call(Some(&portal()), activity_log("t", "m")).await;
        assert!(matches!(reply, Reply::UnknownPortal(_)), "{reply:?}");
    });
}

/// Regression: tokens that were hardly fresher than those in use were dropped, and were missing when those in
/// use could not be renewed.
#[test]
fn tokens_that_were_not_used_at_first_are_used_when_the_others_cannot_be_renewed() {
    let refuses = answering(400, r#"{"error":"invalid_grant"}"#);
    for refresh in ["", "r"] {
        let taken = Arc::new(std::sync::Mutex::new("a1"));
        let takes = Arc::clone(&taken);
        let site = portal_server(move || takes.lock().unwrap().to_string());
        let of = |n: u64| {
            let endpoint = format!("http://{}/rest/", site.host());
            let tokens = Tokens::new(format!("a{n}"), refresh, &endpoint).unwrap();
            tokens.expires_at(UNIX_EPOCH + Duration::from_secs(1_700_000_000 + n))
        };
        let store = Arc::new(MemoryStore::new());
        let http = http(app(&refuses, Arc::clone(&store)));
        run(async {
            assert_eq!(http.accept(&portal(), with_request(of(1))).await, Ok(true));
            assert_eq!(status(&http).await, 200);
            assert_eq!(http.accept(&portal(), with_request(of(2))).await, Ok(false));
            *taken.lock().unwrap() = "a2";
            assert_eq!(status(&http).await, 401);
            assert_eq!(http.refresh(Some(&portal())).await, Refreshed::Renewed);
            assert_eq!(status(&http).await, 200);
            assert_eq!(store.load(&portal()).await.unwrap(), Some(of(2)));
            // No tokens are left, so the next ones are used.
            *taken.lock().unwrap() = "a3";
            assert_eq!(status(&http).await, 401);
            assert!(matches!(http.refresh(Some(&portal())).await, Refreshed::Denied(_)));
            assert_eq!(http.accept(&portal(), with_request(of(3))).await, Ok(true));
            assert_eq!(status(&http).await, 200);
        });
    }
}

/// Panics at every call: before there is a future, or in it.
struct Panics(bool);

impl TokenStore for Panics {
    fn load<'a>(&'a self, _portal: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        assert!(!self.0, "on purpose");
        Box::pin(async { panic!("on purpose") })
    }

    fn swap<'a>(
        &'a self,
        _portal: &'a PortalId,
        _expected: Option<&'a Tokens>,
        _new: &'a Tokens,
    ) -> CredentialFuture<'a, bool> {
        unreachable!("a load comes first")
    }

    fn remove<'a>(&'a self, _portal: &'a PortalId) -> CredentialFuture<'a, ()> {
        unreachable!("nobody is removed")
    }
}

/// Regression: its panic made the outcome of the request unknown.
#[test]
fn a_store_that_panics_means_not_sent() {
    for at_once in [true, false] {
        let http = Http::new(OAuth::new("id", SECRET, Panics(at_once)), HttpOptions::default());
        let http = http.unwrap();
        let reply = run(http.call(Some(&portal()), activity_log("t", "m")));
        let Reply::NotSent(trouble) = reply else { panic!("{reply:?}") };
        assert_eq!(trouble.to_string(), "the token store panicked");
        assert!(matches!(run(http.refresh(Some(&portal()))), Refreshed::Later(_)));
    }
}

#[test]
fn unknown_portals_are_not_remembered() {
    let grants = Grants::new(OAuth::new("id", SECRET, MemoryStore::new()));
    run(async {
        for n in 0..100 {
            let unknown = PortalId::from(format!("{n}"));
            assert_eq!(grants.access(Some(&unknown), &Method::Batch).await, Err(NO_TOKENS));
        }
        let known = PortalId::from("known");
        let arrived = Arrived::Handed(Tokens::new("a", "r", "https://a.example/rest/").unwrap());
        assert!(grants.accept(&known, arrived).await.unwrap());
        assert!(grants.access(Some(&known), &Method::Batch).await.is_ok());
    });
    assert_eq!(grants.portals.lock().unwrap().len(), 1);
}
