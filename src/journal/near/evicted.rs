//! What the journal near by has given up. A line that has left it at the same time is not lost.

use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use super::{Load, MOST_MARKS, Near};
use crate::journal::{Evicted, Journal, JournalError, Mark};

impl Near {
    /// These lines need not be read any more.
    pub(super) fn have_left(&mut self, settled: Vec<Mark>) {
        self.left_since.extend_from_slice(&settled);
        self.marks.extend(settled);
        for marks in [&mut self.left_since, &mut self.marks] {
            marks.drain(..marks.len().saturating_sub(MOST_MARKS));
        }
    }

    /// Lines that this journal has given up, except those that are on their way.
    pub(in crate::journal) async fn evicted(
        &mut self,
        now: SystemTime,
        load: Option<&Load>,
    ) -> Result<Vec<Evicted>, JournalError> {
        let found = self.evicted.clone();
        let call = move |journal: Arc<dyn Journal>| async move {
            let evicted = journal.evicted(now).await?;
            found.lock().unwrap_or_else(PoisonError::into_inner).extend(evicted);
            Ok(())
        };
        self.journal.call(call).await?;
        let mut evicted =
            std::mem::take(&mut *self.evicted.lock().unwrap_or_else(PoisonError::into_inner));
        let left = std::mem::take(&mut self.left_since);
        if evicted.is_empty() {
            return Ok(evicted);
        }
        // They may have been read already.
        self.chunks.clear();
        (self.after, self.has_more) = (None, true);
        let on_way = load.map_or(&[][..], |load| &load.marks);
        let has_left = |evicted: &Evicted| {
            [on_way, &left, &self.marks].into_iter().any(|marks| is_marked(evicted, marks))
        };
        evicted.retain(|evicted| !has_left(evicted));
        Ok(evicted)
    }
}

/// Whether the marks are for lines that were given up.
fn is_marked(evicted: &Evicted, marks: &[Mark]) -> bool {
    let (Some(of), Some((from, up_to))) = (&evicted.of, evicted.numbers) else {
        return false;
    };
    marks.iter().any(|mark| {
        (mark.publisher, &mark.portal, &mark.event_token) == (of.0, &of.1, &of.2)
            && from <= mark.up_to
            && mark.from <= up_to
    })
}
