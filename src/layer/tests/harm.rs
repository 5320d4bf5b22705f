//! The layer with faulty layers and unusual apps.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// A layer that panics while it holds the lock of a span's extensions, at an event with this text.
struct Breaks;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Breaks {
    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        if event.metadata().target() == "breaks" {
            let span = ctx.event_span(event).unwrap();
            let _held = span.extensions_mut();
            panic!("a layer's own fault");
        }
    }
}

/// Logs when it is dropped, as a guard of a transaction does.
struct Logs;

impl Drop for Logs {
    fn drop(&mut self) {
        info!("rolled back");
        info_span!("inside").in_scope(|| info!("rolled back, too"));
    }
}

#[test]
fn a_poisoned_span_makes_no_event_panic() {
    alone("harm::a_poisoned_span_makes_no_event_panic", || {
        let (producer, mut inbox) = rig();
        let subscriber = tracing_subscriber::registry()
            .with(Breaks)
            .with(layer(producer.clone(), LevelFilter::INFO));
        tracing::subscriber::with_default(subscriber, || {
            let a = info_span!("a", event_token = A, late = Empty).entered();
            info!("before");
            let broken = catch_unwind(|| info!(target: "breaks", "now"));
            broken.unwrap_err();
            info!("in the broken span");
            a.record("late", 1);
            a.record("event_token", B);
            // Events that are logged while a panic unwinds would end the process if they panicked.
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _logs = Logs;
                panic!("the app's own");
            }));
            unwound.unwrap_err();
            info_span!("b", event_token = B).in_scope(|| info!("goes on"));
            drop(a);
            let counted = producer.unseen();
            // The Registry gives the broken span's place to the next one.
            info_span!("b", event_token = B).in_scope(|| info!("in the broken place"));
            assert!(producer.unseen() > counted);
        });
        assert_eq!(inbox.lines()[..2], ["a: before", "b: goes on"]);
        assert!(producer.unseen() >= 3, "{}", producer.unseen());
    });
}

#[test]
fn sixty_thousand_nested_spans_do_not_overflow_the_stack() {
    let lines = delivered(|| {
        let mut spans = vec![info_span!("a", event_token = A)];
        for n in 0..60_000 {
            spans.push(info_span!(parent: &spans[n], "waits", event_token = Empty));
        }
        info!(parent: &spans[60_000], "at the bottom");
        spans[60_000].record("event_token", B);
        info!(parent: &spans[60_000], "tagged");
        // From the inside out, like scopes. In another order, the Registry closes spans recursively.
        while spans.pop().is_some() {}
    });
    assert_eq!(lines[..2], ["a: at the bottom", "b: tagged"]);
}

#[test]
fn spans_below_the_level_keep_events_in_their_log_and_show_no_fields() {
    let (producer, mut inbox) = rig();
    let subscriber = tracing_subscriber::registry()
        .with(fmt_layer().with_writer(io::sink))
        .with(layer(producer, LevelFilter::INFO));
    tracing::subscriber::with_default(subscriber, || {
        let _a = info_span!("a", event_token = A).entered();
        let _shown = info_span!("shown", n = 1).entered();
        let hidden = debug_span!("hidden", secret = 2, later = Empty).entered();
        hidden.record("later", 3);
        let mut deeper: Vec<_> = (0..1_000).map(|_| debug_span!("deeper").entered()).collect();
        info!("said");
        info_span!("inner", m = 4).in_scope(|| info!("said inside"));
        // From the inside out. Otherwise the Registry closes them recursively.
        while deeper.pop().is_some() {}
    });
    assert_eq!(inbox.lines()[..2], ["a: said, n=1", "a: said inside, m=4, n=1"]);
}
