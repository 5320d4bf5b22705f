//! For tests of an app on several portals: the portals, the app installed on each, the address of its
//! handler, and a layer with the tokens of the app.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bizproc_portal::{ActivityOptions, App, Portal, Workflow};
use tracing::subscriber::DefaultGuard;
use tracing_bizproc::app::{ActivityRequest, Installation, VerifiedActivity};
use tracing_bizproc::auth::{Hosts, MemoryStore, OAuth, TokenStore, Tokens};
use tracing_bizproc::{Builder, Handle, PortalId, WorkerGuard};
use tracing_subscriber::prelude::*;

/// An app on some portals. Events of this thread are sent to them.
pub(crate) struct AppStage {
    pub(crate) portals: Vec<Site>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) bizproc: Handle,
    pub(crate) guard: WorkerGuard,
    pub(crate) handler: Handler,
    pub(crate) subscriber: DefaultGuard,
}

/// A portal, and the app there.
pub(crate) struct Site {
    pub(crate) portal: Portal,
    pub(crate) app: App,
}

impl AppStage {
    pub(crate) fn new(portals: usize) -> AppStage {
        AppStage::with(portals, |oauth| oauth, |builder| builder)
    }

    pub(crate) fn with(
        portals: usize,
        oauth: impl FnOnce(OAuth) -> OAuth,
        options: impl FnOnce(Builder) -> Builder,
    ) -> AppStage {
        let portals = sites(portals);
        let store = Arc::new(MemoryStore::new());
        let (layer, guard) =
            options(quick(oauth(credentials(&portals[0], store.clone())))).build().unwrap();
        let subscriber = tracing_subscriber::registry().with(layer).set_default();
        let bizproc = guard.handle();
        AppStage { portals, store, bizproc, guard, handler: Handler::new(), subscriber }
    }

    /// A workflow on portal `n` whose activity has called the handler; the request is verified.
    pub(crate) fn open(&self, n: usize) -> (Workflow, bizproc_portal::Activity, VerifiedActivity) {
        self.open_with(n, |activity| activity)
    }

    pub(crate) fn open_with(
        &self,
        n: usize,
        options: impl FnOnce(ActivityOptions) -> ActivityOptions,
    ) -> (Workflow, bizproc_portal::Activity, VerifiedActivity) {
        self.open_sent_before(Duration::ZERO, n, options)
    }

    /// As [`open_with`](Self::open_with), with a request that was sent `ago`.
    pub(crate) fn open_sent_before(
        &self,
        ago: Duration,
        n: usize,
        options: impl FnOnce(ActivityOptions) -> ActivityOptions,
    ) -> (Workflow, bizproc_portal::Activity, VerifiedActivity) {
        let site = &self.portals[n];
        let workflow = site.portal.start_workflow("Order 1042");
        let activity = workflow.activity("Fulfil").handler(self.handler.url()).app(&site.app);
        let activity = options(activity).open();
        let body = sent_before(&self.handler.take(), ago);
        let request = ActivityRequest::parse(Some(FORM), body.as_bytes()).unwrap();
        (workflow, activity, request.verify(&site.installation()).unwrap())
    }

    /// Requests of the app to its authorization server.
    pub(crate) fn renewals(&self) -> usize {
        let journal = self.portals[0].portal.journal();
        journal.iter().filter(|hit| hit.rest_method == "oauth/token").count()
    }
}

impl Site {
    pub(crate) fn id(&self) -> PortalId {
        PortalId::from(self.portal.member_id())
    }

    /// The stored installation.
    pub(crate) fn installation(&self) -> Installation {
        Installation::new(self.app.application_token(), Hosts::from([self.host()]))
    }

    pub(crate) fn host(&self) -> String {
        let endpoint = self.portal.client_endpoint();
        endpoint.split('/').nth(2).unwrap().to_owned()
    }

    /// A fresh pair of tokens.
    pub(crate) fn tokens(&self) -> Tokens {
        let issued = self.app.issue_tokens();
        Tokens::new(issued.access_token, issued.refresh_token, &self.portal.client_endpoint())
            .unwrap()
            .expires_at(issued.expires.to_system_time())
    }
}

/// The same form, as if it had been sent earlier.
fn sent_before(body: &str, ago: Duration) -> String {
    let fields = body.split('&').map(|field| match field.strip_prefix("ts=") {
        Some(ts) => format!("ts={}", ts.parse::<u64>().unwrap() - ago.as_secs()),
        None => field.to_owned(),
    });
    fields.collect::<Vec<_>>().join("&")
}

/// Portals with one app on all of them.
pub(crate) fn sites(portals: usize) -> Vec<Site> {
    let first = Portal::builder().start().unwrap();
    let app = first.install_app();
    let mut sites = vec![Site { portal: first, app }];
    for _ in 1..portals {
        let portal = Portal::builder().beside(&sites[0].portal).start().unwrap();
        let app = portal.install_known_app(&sites[0].app);
        sites.push(Site { portal, app });
    }
    sites
}

/// The app's credentials, with the first portal's process as the authorization server.
pub(crate) fn credentials(first: &Site, store: impl TokenStore) -> OAuth {
    OAuth::new(first.app.client_id(), first.app.client_secret(), store)
        .authorization_server(&first.portal.oauth_url())
        .unwrap()
}

/// Options for portals on this machine, without limits.
pub(crate) fn quick(oauth: OAuth) -> Builder {
    tracing_bizproc::builder(oauth).self_hosted().linger(Duration::from_millis(20))
}

/// Runs a future of the crate. It works without a runtime; tests use one anyway.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The address that portals call.
pub(crate) struct Handler(TcpListener);

impl Handler {
    pub(crate) fn new() -> Self {
        Handler(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/activity", self.0.local_addr().unwrap())
    }

    /// The body of the next request, which is answered with 200.
    pub(crate) fn take(&self) -> String {
        self.take_whole().1
    }

    /// The query and the body of the next request, which is answered with 200.
    pub(crate) fn take_whole(&self) -> (String, String) {
        let (mut stream, _) = self.0.accept().unwrap();
        let (mut request, mut chunk) = (Vec::new(), [0; 4_096]);
        loop {
            let text = String::from_utf8_lossy(&request);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                if length.unwrap().parse() == Ok(body.len()) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                    let target = head.split(' ').nth(1).unwrap_or_default();
                    let query = target.split_once('?').map_or("", |(_, query)| query);
                    return (query.to_owned(), body.to_owned());
                }
            }
            let read = stream.read(&mut chunk).unwrap();
            assert!(read > 0, "the request ended early");
            request.extend_from_slice(&chunk[..read]);
        }
    }
}

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
