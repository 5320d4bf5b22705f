use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;
use crate::protocol::command::activity_log;
use crate::transport::Transport;
use crate::transport::auth::store::{MemoryStore, TokenStore};
use crate::transport::auth::{Credentials, Hosts};
use crate::transport::http::{Http, HttpOptions};
use crate::transport::stand_in::Server;

const SECRET: &str = "cl1entsecret";

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn portal() -> PortalId {
    PortalId::from("member")
}

/// A portal that takes the access tokens given to it at any time.
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

/// A pair of which nobody has said when it expires.
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
fn who_waits_for_a_renewal_shares_it() {
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

/// Both replicas ask with the same refresh token; the loser is told `invalid_grant`, finds the
/// winner's pair in the store, and goes on with it.
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
fn what_the_authorization_server_cannot_say_is_asked_again() {
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

/// A store that works only while it is told to; with `hangs` it says nothing when it does not.
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
fn a_portal_that_moves_is_followed_to_allowed_hosts_only() {
    let (server, site) = (authorization(), portal_server(|| "a1".to_owned()));
    let new_host = site.host();
    let location = format!("Location: http://{new_host}/rest/\r\n");
    let old = Server::new(move |_| (302, location.clone(), String::new()));
    for (hosts, expected) in [
        (Hosts::default(), denied("host not allowed")),
        (Hosts::from(["other.example"]), denied("host not allowed")),
        (Hosts::from([site.host()]), Refreshed::Renewed),
    ] {
        let store = store_with(&tokens(1, &old));
        let http = http(app(&server, Arc::clone(&store)).hosts(hosts));
        run(async {
            let reply = http.call(Some(&portal()), activity_log("t", "m")).await;
            let Reply::Moved { host: Some(host) } = reply else { panic!("{reply:?}") };
            assert_eq!(host, site.host());
            assert_eq!(http.relocate(Some(&portal()), &host).await, expected);
            if expected == Refreshed::Renewed {
                assert_eq!(status(&http).await, 200);
                assert_eq!(run_store(&store).await, Some(tokens(1, &site)));
                let circle = http.relocate(Some(&portal()), &host).await;
                assert_eq!(circle, denied("redirects to itself"));
            }
        });
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
}

/// Its panic was taken for a request of which nobody knows whether it was executed.
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
fn nothing_is_kept_of_portals_that_are_unknown() {
    let grants = Grants::new(OAuth::new("id", SECRET, MemoryStore::new()));
    run(async {
        for n in 0..100 {
            let unknown = PortalId::from(format!("{n}"));
            assert_eq!(grants.access(Some(&unknown), Method::Batch).await, Err(NO_TOKENS));
        }
        let known = PortalId::from("known");
        let arrived = Arrived::Handed(Tokens::new("a", "r", "https://a.example/rest/").unwrap());
        assert!(grants.accept(&known, arrived).await.unwrap());
        assert!(grants.access(Some(&known), Method::Batch).await.is_ok());
    });
    assert_eq!(grants.portals.lock().unwrap().len(), 1);
}
