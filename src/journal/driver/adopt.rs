//! Takes over what other runs have left in the journal: first they are taken over, one after the other, then one read
//! over all data counts their lines, and finds their ends.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::Driver;
use crate::journal::desk::{Left, Said};
use crate::journal::guarded::guarded;
use crate::journal::{Adopted, Chunk, Content, Position, Publisher, Query};
use crate::line::{EventToken, PortalId};

/// What is known of the data of other runs.
pub(super) struct Adoption {
    /// The state of reading the data of other runs.
    pub(super) scan: Option<Scan>,
    /// When to look for more of them.
    pub(super) next_at: Instant,
    /// There is more to take over at once.
    adopting: bool,
    /// Something was taken over whose size is not known yet.
    has_more: bool,
    /// Runs whose lines were counted.
    known: HashSet<Publisher>,
}

/// How much of the data of other runs was read.
#[derive(Default)]
pub(super) struct Scan {
    after: Option<Position>,
    seen: HashSet<Publisher>,
    left: HashMap<(Option<PortalId>, EventToken), u64>,
    ends: Vec<(Publisher, Chunk)>,
}

impl Adoption {
    /// `own`: the present run.
    pub(super) fn new(own: Publisher, now: Instant) -> Self {
        let known = HashSet::from([own]);
        Adoption { scan: None, next_at: now, adopting: false, has_more: false, known }
    }

    /// Whether lines were taken over and not counted yet. A read would find them.
    pub(super) fn is_counting(&self) -> bool {
        self.adopting || self.scan.is_some()
    }
}

impl Driver {
    #[expect(clippy::disallowed_methods, reason = "it keeps its own time")]
    pub(super) async fn adopt(&mut self) {
        self.adoption.next_at = Instant::now() + ADOPT_EVERY;
        let adopted = guarded(|| self.journal.adopt()).await;
        self.adoption.adopting = adopted.as_ref().is_ok_and(|adopted| adopted.more);
        match adopted {
            Ok(Adopted { held, more, left }) => {
                self.adoption.has_more |= !held.is_empty();
                if more {
                    self.adoption.next_at = Instant::now();
                    self.tell(Said::Adopting);
                } else if std::mem::take(&mut self.adoption.has_more) {
                    self.adoption.scan = Some(Scan::default());
                } else {
                    self.tell(Said::Adopted {
                        publishers: Vec::new(),
                        left: Vec::new(),
                        ends: Vec::new(),
                    });
                }
                if let Some(trouble) = left.first().filter(|_| !more) {
                    self.tell(Said::LeftAlone { trouble: trouble.to_string() });
                }
            }
            Err(error) => self.tell(Said::NotAdopted { trouble: error.to_string() }),
        }
        self.look_for_evicted().await;
    }

    /// Continues to read the data of other runs. It counts the lines of each token, and hands over ends, which do
    /// not wait until their lines are read.
    #[expect(clippy::disallowed_methods, reason = "it keeps its own time")]
    pub(super) async fn scan_on(&mut self) {
        let Some(scan) = &mut self.adoption.scan else { return };
        let query = Query { portal: None, after: scan.after, most_bytes: SCAN_BYTES };
        match guarded(|| self.journal.read(query)).await {
            Ok(read) => {
                scan.after = Some(read.up_to);
                for (publisher, chunk) in read.chunks {
                    if !self.adoption.known.contains(&publisher) {
                        scan.take(publisher, chunk);
                    }
                }
                if read.at_end {
                    let Scan { left, ends, seen, .. } =
                        self.adoption.scan.take().unwrap_or_default();
                    let publishers = seen.iter().copied().collect();
                    self.adoption.known.extend(seen);
                    let left = left.into_iter();
                    let left = left
                        .map(|((portal, event_token), lines)| Left { portal, event_token, lines })
                        .collect();
                    self.tell(Said::Adopted { publishers, left, ends });
                } else {
                    self.tell(Said::Adopting);
                }
            }
            Err(error) => {
                self.adoption.scan = None;
                // Nothing else would start this read again, because a run is taken over only once.
                self.adoption.has_more = true;
                self.adoption.next_at = Instant::now() + SCAN_AGAIN;
                self.tell(Said::NotAdopted { trouble: error.to_string() });
            }
        }
    }
}

impl Scan {
    fn take(&mut self, publisher: Publisher, chunk: Chunk) {
        self.seen.insert(publisher);
        match &chunk.content {
            Content::Lines(lines) => {
                let lines = lines.len() as u64;
                *self.left.entry((chunk.portal, chunk.event_token)).or_default() += lines;
            }
            // Its portal is read, and the notice is told, also if nothing else is left.
            Content::Missed(_) => {
                self.left.entry((chunk.portal, chunk.event_token)).or_default();
            }
            Content::Seal(_) => {}
            Content::End(_) => self.ends.push((publisher, chunk)),
        }
    }
}

/// How often to look for data of other runs.
const ADOPT_EVERY: Duration = Duration::from_secs(60);
/// The same, after a read of taken-over data has failed.
const SCAN_AGAIN: Duration = Duration::from_secs(1);
/// How much data of other runs is read at once.
const SCAN_BYTES: usize = 1 << 20;
