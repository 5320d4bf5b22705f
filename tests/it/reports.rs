//! Reports of the worker through `tracing`: no loss is silent.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_bizproc::Builder;
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::config::UnknownOutcome;
use tracing_bizproc::simulation::{Conditions, Faults, Outcome, Run, run_beside};
use tracing_bizproc::stats::DropReason;
use tracing_subscriber::layer::{Context, Layer};

const MINUTE: Duration = Duration::from_secs(60);

fn builder() -> Builder {
    let webhook = Webhook::new("https://b24.example/rest/1/secret/").unwrap();
    tracing_bizproc::builder(webhook)
}

/// The fields of each of the worker's reports, in their order.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

impl<S: Subscriber> Layer<S> for Reports {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "tracing_bizproc" {
            let mut fields = Fields(BTreeMap::new());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }
}

struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Reports {
    /// The counts of the reports with this reason.
    fn counts(&self, reason: DropReason) -> Vec<u64> {
        let reports = self.0.lock().unwrap();
        let reason = Some(reason.as_str());
        let of = reports.iter().filter(|fields| fields.get("reason").map(String::as_str) == reason);
        of.map(|fields| fields["count"].parse().unwrap()).collect()
    }

    fn say(&self, text: &str) -> bool {
        self.0.lock().unwrap().iter().any(|fields| fields["message"].contains(text))
    }
}

fn told<F: Future<Output = ()>>(
    builder: Builder,
    conditions: Conditions,
    scenario: impl FnOnce(Run) -> F,
) -> (Reports, Outcome) {
    let reports = Reports::default();
    let outcome = run_beside(reports.clone(), 1, builder, conditions, MINUTE, scenario);
    outcome.verify().unwrap();
    (reports, outcome)
}

/// Regression: 67 million lines were refused without a report.
#[test]
fn refused_lines_are_reported_like_every_other_loss() {
    for (builder, reason) in [
        (builder().queue_lines(10), DropReason::QueueFull),
        (builder().pending_lines(10), DropReason::BudgetSpent),
    ] {
        let (reports, outcome) = told(builder, Conditions::default(), |run| async move {
            let burst = || (0..100).for_each(|_| run.log(1, 60));
            burst();
            run.until(Duration::from_secs(1)).await;
            burst();
            burst();
            // No span is open from here on, and the worker sleeps. It still reports the rest.
            run.close(1);
            run.until(2 * MINUTE).await;
        });
        let refused = outcome.stats.by_reason(reason);
        assert!(refused > 250, "{}", outcome.stats);
        let counts = reports.counts(reason);
        assert_eq!(counts.len(), 2, "at once, and after a minute: {counts:?}");
        assert_eq!(counts.iter().sum::<u64>(), refused);
    }
}

#[test]
fn a_report_of_an_unknown_outcome_says_what_happens_next() {
    let faults = Faults { lost_answer: 1.0, ..Faults::default() };
    for (choice, text) in
        [(UnknownOutcome::Repeat, "sent again with a mark"), (UnknownOutcome::GiveUp, "given up")]
    {
        let conditions = Conditions { faults, ..Conditions::default() };
        let builder = builder().on_unknown_outcome(choice);
        let (reports, outcome) = told(builder, conditions, |run| async move {
            run.log(1, 60);
            run.until(Duration::from_secs(10)).await;
        });
        assert!(outcome.stats.unknown_outcomes() > 0);
        assert!(reports.say(text), "{choice:?}");
        assert_eq!(reports.say("sent again"), choice == UnknownOutcome::Repeat);
    }
}
