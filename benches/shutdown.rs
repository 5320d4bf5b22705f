//! How exactly a shutdown keeps its deadline, with different troubles of delivery and different ways to call it.
//!
//! `cargo bench --bench shutdown` prints one line per figure: by how many milliseconds the slowest of some rounds
//! exceeded its deadline. `-- --test` runs one round.
#![expect(clippy::print_stdout, reason = "figures are what a bench prints")]
#![expect(clippy::disallowed_methods, reason = "it is a measurement")]

use std::cell::RefCell;
use std::future::pending;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use bizproc_portal::{Fault, Moment, Portal};
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};
use tracing::{info, info_span};
use tracing_bizproc::auth::{CredentialFuture, MemoryStore, OAuth, TokenStore, Tokens, Webhook};
use tracing_bizproc::{Builder, Completion, EventToken, PortalId, WorkerGuard};
use tracing_subscriber::prelude::*;

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--test");
    let rounds = if smoke { 1 } else { 10 };
    for (name, trouble) in TROUBLES {
        // The way to shut down does not depend on the trouble, so each way is combined with one trouble.
        let over = (0..rounds).map(|_| {
            over_deadline(*trouble, |guard| {
                drop(guard.shutdown_blocking(DEADLINE));
            })
        });
        tell(&format!("against {name}"), over);
    }
    for (name, way) in WAYS {
        tell(&format!("from {name}"), (0..rounds).map(|_| over_deadline(Trouble::Hung, way)));
    }
}

fn tell(name: &str, over: impl Iterator<Item = Duration>) {
    let over = over.max().unwrap_or_default().as_secs_f64() * 1e3;
    println!("figure ms over the deadline, {name} = {over:.1} (target <= 100)");
}

/// The time limit of each shutdown. For the guard's drop it is set as an option.
const DEADLINE: Duration = Duration::from_millis(300);

#[derive(Clone, Copy)]
enum Trouble {
    Hung,
    BackingOff,
    HungRefresh,
    HungStore,
    BlockedWorker,
    FullQueue,
}

const TROUBLES: &[(&str, Trouble)] = &[
    ("a portal that hangs", Trouble::Hung),
    ("a portal that is away for long", Trouble::BackingOff),
    ("a refresh that hangs", Trouble::HungRefresh),
    ("a token store that hangs", Trouble::HungStore),
    ("a token store that blocks the worker's thread", Trouble::BlockedWorker),
    ("queues that are full", Trouble::FullQueue),
];

type Way = fn(WorkerGuard);

const WAYS: &[(&str, Way)] = &[
    ("a thread", |guard| drop(guard.shutdown_blocking(DEADLINE))),
    ("a drop", |guard| drop(guard)),
    ("a runtime of one thread", |guard| drop(one_thread().block_on(guard.shutdown(DEADLINE)))),
    ("a drop in a runtime of one thread", |guard| one_thread().block_on(async { drop(guard) })),
    ("a runtime of several threads", |guard| {
        drop(several_threads().block_on(guard.shutdown(DEADLINE)));
    }),
    ("a task of a runtime of several threads", |guard| {
        let task = async { tokio::spawn(async { drop(guard) }).await };
        several_threads().block_on(task).expect("it does not panic");
    }),
    ("the end of a thread's locals", |guard| {
        thread_local!(static GUARD: RefCell<Option<WorkerGuard>> = const { RefCell::new(None) });
        let thread = thread::spawn(|| GUARD.set(Some(guard)));
        thread.join().expect("it does not panic");
    }),
    ("a panic", |guard| {
        let panics = move || {
            let _guard = guard;
            std::panic::resume_unwind(Box::new(()));
        };
        assert!(thread::spawn(panics).join().is_err());
    }),
];

fn one_thread() -> Runtime {
    RuntimeBuilder::new_current_thread().enable_all().build().expect("it needs little")
}

fn several_threads() -> Runtime {
    let mut builder = RuntimeBuilder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("it needs little")
}

/// A store that has tokens, and whose calls never return.
struct Stuck {
    blocks: bool,
}

impl TokenStore for Stuck {
    fn load<'a>(&'a self, _: &'a PortalId) -> CredentialFuture<'a, Option<Tokens>> {
        if self.blocks {
            thread::sleep(3 * DEADLINE);
        }
        Box::pin(pending())
    }

    fn swap<'a>(
        &'a self,
        _: &'a PortalId,
        _: Option<&'a Tokens>,
        _: &'a Tokens,
    ) -> CredentialFuture<'a, bool> {
        Box::pin(pending())
    }

    fn remove<'a>(&'a self, _: &'a PortalId) -> CredentialFuture<'a, ()> {
        Box::pin(pending())
    }
}

/// By how much a shutdown exceeds its deadline.
fn over_deadline(trouble: Trouble, shutdown: impl FnOnce(WorkerGuard)) -> Duration {
    let portal = Portal::builder().start().expect("loopback has a port");
    let webhook = || Webhook::new(portal.webhook_url()).expect("the portal's own address");
    let app = portal.app();
    let nobody = "http://127.0.0.1:9/rest/1/secret/";
    // It accepts connections, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let silent = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let (id, secret) = (app.client_id().to_owned(), app.client_secret());
    let builder: Builder = match trouble {
        Trouble::Hung | Trouble::FullQueue => tracing_bizproc::builder(webhook()),
        Trouble::BackingOff => {
            tracing_bizproc::builder(Webhook::new(nobody).expect("a webhook's shape"))
        }
        Trouble::HungRefresh => {
            let oauth = OAuth::new(id, secret, MemoryStore::new()).default_portal("m");
            tracing_bizproc::builder(oauth.authorization_server(&silent).expect("an address"))
        }
        Trouble::HungStore | Trouble::BlockedWorker => {
            let store = Stuck { blocks: matches!(trouble, Trouble::BlockedWorker) };
            tracing_bizproc::builder(OAuth::new(id, secret, store).default_portal("m"))
        }
    };
    let builder = builder.self_hosted().linger(Duration::from_millis(10));
    let (layer, guard) = builder.shutdown_timeout(DEADLINE).build().expect("within bounds");
    let handle = guard.handle();
    if matches!(trouble, Trouble::HungRefresh) {
        let issued = app.issue_tokens();
        let endpoint = portal.client_endpoint();
        let tokens = Tokens::new(issued.access_token, issued.refresh_token, &endpoint);
        let tokens = tokens.expect("the portal's own address");
        handle.accept(&PortalId::from("m"), tokens).expect("the worker runs");
        app.expire_access_tokens();
    }
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let workflow = portal.start_workflow("Order");
        let event_token = EventToken::parse(&workflow.open_activity("Pack").event_token());
        let event_token = event_token.expect("a token");
        if matches!(trouble, Trouble::Hung | Trouble::FullQueue) {
            portal.faults().next(Fault::Hang(Moment::BeforeExecution));
        }
        let span = info_span!("activity", event_token = event_token.as_field());
        span.in_scope(|| info!("on its way"));
        thread::sleep(Duration::from_millis(100));
        let lines = if matches!(trouble, Trouble::FullQueue) { 200_000 } else { 20 };
        span.in_scope(|| (0..lines).for_each(|n| info!(n, "a line")));
        if matches!(trouble, Trouble::FullQueue) {
            // Requests of the app that nobody waits for any more.
            for _ in 0..5_000 {
                let mut ask = std::pin::pin!(handle.complete(&event_token, Completion::new()));
                let waker = std::task::Waker::noop();
                let _ = ask.as_mut().poll(&mut std::task::Context::from_waker(waker));
            }
        }
        let start = Instant::now();
        shutdown(guard);
        start.elapsed().saturating_sub(DEADLINE)
    })
}
