//! A filter that hides spans from the layer is reported, with what to add to the filter.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bizproc_portal::Portal;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber, info, info_span};
use tracing_bizproc::{BizprocLayer, Completion, Handle, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layered};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::activity::behind;
use crate::app::AppStage;
use crate::stage::{Captured, PATIENCE, Stage, errors_of_child, in_child, is_child, quick, token};

fn hears<S: Subscriber + for<'a> LookupSpan<'a>>(captured: &Captured) -> impl Layer<S> {
    let writer = captured.clone();
    tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone())
}

/// An app with its own span, which ends its activity.
fn app(portal: &Portal, guard: &WorkerGuard) -> Handle {
    let activity = portal.start_workflow("Order").open_activity("Fulfil");
    let event_token = token(&activity);
    info_span!("order", event_token = event_token.as_field()).in_scope(|| info!("received"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bizproc = guard.handle();
    runtime.block_on(bizproc.complete(&event_token, Completion::new())).unwrap();
    bizproc
}

/// The reports about an app with this layer and this subscriber.
fn said<B, F>(build: B) -> (String, u64, u64)
where
    B: FnOnce(BizprocLayer<Layered<Captures, Registry>>, Layered<Captures, Registry>) -> F,
    F: Subscriber + Send + Sync,
{
    let portal = Portal::builder().start().unwrap();
    let captured = Captured::default();
    let (layer, guard) = quick(&portal).build().unwrap();
    let base = tracing_subscriber::registry().with(hears(&captured).boxed());
    tracing::subscriber::set_global_default(build(layer, base)).unwrap();
    let bizproc = app(&portal, &guard);
    let stats = bizproc.stats();
    drop(guard);
    (captured.text(), stats.accepted(), stats.unseen())
}

type Captures = Box<dyn Layer<Registry> + Send + Sync>;

/// Runs each of the tests below in its own process.
macro_rules! alone {
    ($name:ident, $work:expr) => {
        #[test]
        fn $name() {
            if !is_child() {
                return in_child(concat!("hidden::", stringify!($name)), &[]);
            }
            $work;
        }
    };
}

fn names_the_filter(said: (String, u64, u64), wanted: &str) {
    let (text, accepted, unseen) = said;
    assert_eq!((accepted, unseen), (0, 1), "{text}");
    assert_eq!(text.matches("a filter hides spans or events").count(), 1, "{text}");
    assert!(text.contains(wanted), "{text}");
}

const OWN: &str = "the span `order`: let `it::hidden=info` through";

alone!(targets_around_the_layer, {
    let targets = Targets::new().with_target("elsewhere", LevelFilter::INFO);
    names_the_filter(said(|layer, base| base.with(layer.with_filter(targets))), OWN);
});

alone!(a_level_around_the_layer, {
    names_the_filter(said(|layer, base| base.with(layer.with_filter(LevelFilter::WARN))), OWN);
});

alone!(an_env_filter_below_the_layer, {
    let filter = EnvFilter::new("elsewhere=info,tracing_bizproc=info");
    let portal = Portal::builder().start().unwrap();
    let captured = Captured::default();
    let (layer, guard) = quick(&portal).build().unwrap();
    let base = tracing_subscriber::registry().with(hears(&captured).boxed()).with(filter);
    tracing::subscriber::set_global_default(base.with(layer)).unwrap();
    let bizproc = app(&portal, &guard);
    drop(guard);
    let stats = bizproc.stats();
    names_the_filter((captured.text(), stats.accepted(), stats.unseen()), OWN);
});

alone!(an_env_filter_above_the_layer, {
    let filter = EnvFilter::new("elsewhere=info,tracing_bizproc=info");
    names_the_filter(said(|layer, base| base.with(layer).with(filter)), OWN);
});

alone!(a_level_of_the_whole_process, {
    let filter = EnvFilter::new("warn");
    let wanted = "the maximum level of the whole process is WARN: let INFO through";
    names_the_filter(said(|layer, base| base.with(layer).with(filter)), wanted);
});

alone!(a_filter_that_lets_the_span_through_is_not_talked_of, {
    let filter = EnvFilter::new("it=info");
    let (text, accepted, unseen) = said(|layer, base| base.with(layer.with_filter(filter)));
    assert_eq!((accepted, unseen), (1, 0), "{text}");
    assert!(!text.contains("hides"), "{text}");
});

/// Counts the calls of `enabled`.
struct Asked(&'static AtomicUsize);

impl<S: Subscriber> Layer<S> for Asked {
    fn enabled(&self, _: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.0.fetch_add(1, SeqCst);
        true
    }
}

// A callsite without a cached interest would ask at each event.
alone!(a_search_leaves_events_as_cheap_as_they_were, {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let portal = Portal::builder().start().unwrap();
    let (layer, guard) = quick(&portal).build().unwrap();
    let shown = Targets::new().with_target("elsewhere", LevelFilter::INFO);
    tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(Asked(&ASKED)).with(layer.with_filter(shown)),
    )
    .unwrap();
    let say = || info!(target: "elsewhere", "said");
    say();
    let registered = ASKED.load(SeqCst);
    (0..100).for_each(|_| say());
    assert_eq!(ASKED.load(SeqCst), registered, "it is always enabled");
    // The search finds that the app's span is hidden.
    assert_eq!(app(&portal, &guard).stats().unseen(), 1);
    let asked = ASKED.load(SeqCst);
    (0..100).for_each(|_| say());
    assert_eq!(ASKED.load(SeqCst), asked);
});

// For an app without an activity, hidden spans are not reported.
alone!(an_app_without_activities_is_left_alone, {
    let portal = Portal::builder().start().unwrap();
    let captured = Captured::default();
    let (layer, guard) = quick(&portal).build().unwrap();
    let base = tracing_subscriber::registry().with(hears(&captured).boxed()).with(layer);
    tracing::subscriber::set_global_default(base.with(EnvFilter::new("warn"))).unwrap();
    info!("nothing to do");
    guard.handle().flush_blocking(PATIENCE).unwrap();
    drop(guard);
    assert_eq!(captured.text(), "");
});

// `fmt().finish()` with a level for the whole process.
alone!(the_level_of_fmt_is_reported_too, {
    let portal = Portal::builder().start().unwrap();
    let captured = Captured::default();
    let writer = captured.clone();
    let (layer, guard) = quick(&portal).build().unwrap();
    let fmt = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone());
    tracing::subscriber::set_global_default(fmt.finish().with(layer)).unwrap();
    let bizproc = app(&portal, &guard);
    drop(guard);
    let stats = bizproc.stats();
    let wanted = "the maximum level of the whole process is WARN: let INFO through";
    names_the_filter((captured.text(), stats.accepted(), stats.unseen()), wanted);
});

/// A level above INFO is for events. It must not hide the spans with the token.
#[test]
fn the_layers_own_level_hides_no_tagged_span() {
    let stage = Stage::with(Portal::builder(), |builder| builder.level(tracing::Level::ERROR));
    let (workflow, _, event_token) = stage.activity();
    info_span!("order", event_token = event_token.as_field()).in_scope(|| {
        info!("not shown");
        tracing::error!("shown");
    });
    stage.flushed();
    assert_eq!(crate::stage::lines(&workflow), ["ERROR: shown"]);
}

/// As `RUST_LOG=my_app=info` does: it hides the crate's own span, and the reports with it.
#[test]
fn a_hidden_activity_is_reported_on_standard_error_if_reports_are_hidden_too() {
    let name = "hidden::a_hidden_activity_is_reported_on_standard_error_if_reports_are_hidden_too";
    if !is_child() {
        let errors = errors_of_child(name, &[]);
        assert!(errors.contains("RUST_LOG=my_app=info,tracing_bizproc=info"), "{errors}");
        assert_eq!(errors.matches("a filter hides spans or events").count(), 1, "{errors}");
        return;
    }
    let stage = AppStage::new(1);
    let (bizproc, captured, kept) = behind("it=info", &stage);
    for _ in 0..2 {
        let (_, _, verified) = stage.open(0);
        bizproc.activity(verified).first().unwrap().span().in_scope(|| info!("nowhere"));
    }
    assert_eq!(bizproc.stats().unseen(), 2);
    assert!(!captured.text().contains("hides"), "{}", captured.text());
    drop(kept);
}
