//! The layer on subscribers other than the Registry.

use tracing_core::span::Current;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::FilterId;

use super::*;

#[test]
fn the_layer_works_on_the_subscriber_of_fmt_and_does_not_change_it() {
    let printed = Printed::default();
    let (producer, mut inbox) = rig();
    let alive = producer.alive();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(printed.clone())
        .finish()
        .with(layer(producer, LevelFilter::WARN));
    assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::INFO), "as fmt has it");
    tracing::subscriber::with_default(subscriber, || {
        let _a = info_span!("a", event_token = A, n = 1).entered();
        let _inner = info_span!("inner").entered();
        debug!("debug");
        info!("info");
        warn!("warn");
    });
    assert_eq!(inbox.lines(), ["a: warn", "a: closed"]);
    assert_eq!(printed.text().lines().count(), 2, "{}", printed.text());
    assert!(!alive.read().has_slots());
}

#[test]
fn on_the_subscriber_of_fmt_another_layer_goes_on_top() {
    let printed = Printed::default();
    let (producer, mut inbox) = rig();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("trace")
        .with_writer(io::sink)
        .finish()
        .with(layer(producer, LevelFilter::INFO))
        .with(fmt_layer().with_writer(printed.clone()));
    tracing::subscriber::with_default(subscriber, || {
        let _a = info_span!("a", event_token = A).entered();
        debug!("debug");
        info!("info");
    });
    assert_eq!(inbox.lines(), ["a: info", "a: closed"]);
    assert_eq!(printed.text().lines().count(), 2);
}

/// A Registry of the app's own type, which says nothing of what is inside, but has filters of layers.
struct Wrapped(Registry);

impl Subscriber for Wrapped {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.0.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn new_span(&self, attrs: &Attributes<'_>) -> Id {
        self.0.new_span(attrs)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        self.0.record(id, values);
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        self.0.record_follows_from(id, follows);
    }

    fn event(&self, event: &Event<'_>) {
        self.0.event(event);
    }

    fn enter(&self, id: &Id) {
        self.0.enter(id);
    }

    fn exit(&self, id: &Id) {
        self.0.exit(id);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.0.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.0.try_close(id)
    }

    fn current_span(&self) -> Current {
        self.0.current_span()
    }
}

impl<'a> LookupSpan<'a> for Wrapped {
    type Data = <Registry as LookupSpan<'a>>::Data;

    fn span_data(&'a self, id: &Id) -> Option<Self::Data> {
        self.0.span_data(id)
    }

    fn register_filter(&mut self) -> FilterId {
        self.0.register_filter()
    }
}

#[test]
fn the_layer_works_on_the_apps_own_subscriber() {
    let (producer, mut inbox) = rig();
    let subscriber = Wrapped(Registry::default()).with(layer(producer, LevelFilter::INFO));
    tracing::subscriber::with_default(subscriber, || {
        let _a = info_span!("a", event_token = A).entered();
        info_span!("inner").in_scope(|| info!("one"));
        debug!("debug");
    });
    assert_eq!(inbox.lines(), ["a: one", "a: closed"]);
}

/// The Registry knows the spans around a hidden one, but the layer cannot see the Registry. The stack of the
/// thread might lead to the log of another process.
#[test]
fn an_event_in_a_span_that_is_hidden_there_is_counted() {
    let (producer, mut inbox) = rig();
    let subscriber = Wrapped(Registry::default())
        .with(layer(producer.clone(), LevelFilter::TRACE).with_filter(LevelFilter::INFO))
        .with(fmt_layer().with_writer(io::sink));
    tracing::subscriber::with_default(subscriber, || {
        let a = info_span!("a", event_token = A);
        a.in_scope(|| info!("in a"));
        let _b = info_span!("b", event_token = B).entered();
        debug_span!(parent: &a, "hidden").in_scope(|| info!("in hidden"));
    });
    assert_eq!(inbox.lines()[0], "a: in a");
    assert_eq!((producer.accepted(), producer.unseen()), (1, 1));
}
