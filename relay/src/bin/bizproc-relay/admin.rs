//! Commands for operators. They work whether a relay runs or not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep, timeout_at};
use tracing_bizproc::PortalId;
use tracing_bizproc_relay::{PgJournal, PgStore, Shard};

use crate::arguments::{Of, Which};
use crate::settings::Settings;
use crate::{Failure, say};

pub(crate) async fn migrate(settings: &Settings) -> Result<(), Failure> {
    journal(settings)?.migrate().await.map_err(Failure::failed)?;
    say("the tables are up to date")
}

/// Checks everything that can be wrong before a relay runs.
pub(crate) async fn check(settings: &Settings) -> Result<(), Failure> {
    let store = PgStore::new(settings.database.clone()).map_err(Failure::failed)?;
    store.check().await.map_err(Failure::failed)?;
    let access = match &settings.access {
        Some(access) => format!("{access:?}"),
        None => "none: `run` needs an app or webhooks".to_owned(),
    };
    say(&format!("the database has the tables of this version\ncredentials: {access}\nok"))
}

pub(crate) async fn status(settings: &Settings) -> Result<(), Failure> {
    let journal = journal(settings)?;
    let backlog = journal.backlog().await.map_err(Failure::failed)?;
    say(&format!(
        "chunks={} lines={} oldest={} dead_chunks={} dead_lines={}",
        backlog.chunks,
        backlog.lines,
        backlog.oldest.map_or("-".to_owned(), age),
        backlog.dead_chunks,
        backlog.dead_lines,
    ))?;
    for owner in journal.owners().await.map_err(Failure::failed)? {
        let of = Shard::COUNT;
        match owner.member {
            Some(member) if owner.lasts > Duration::ZERO => {
                say(&format!("relay={:032x} shards={}/{of}", member.0, owner.shards))?;
            }
            Some(member) => {
                say(&format!("relay={:032x} shards={}/{of} lease=over", member.0, owner.shards))?;
            }
            None => say(&format!("relay=- shards={}/{of}", owner.shards))?,
        }
    }
    for portal in journal.oldest_portals(PORTALS).await.map_err(Failure::failed)? {
        say(&format!(
            "portal={} chunks={} lines={} oldest={}",
            name(portal.portal.as_ref()),
            portal.chunks,
            portal.lines,
            age(portal.oldest),
        ))?;
    }
    Ok(())
}

/// Waits until all chunks that are in the journal now are settled.
pub(crate) async fn drain(settings: &Settings, limit: Duration) -> Result<(), Failure> {
    let journal = journal(settings)?;
    #[expect(clippy::disallowed_methods, reason = "a command of an operator has the real clock")]
    let end = Instant::now() + limit;
    let mut known = None;
    let mut told = None;
    loop {
        // A database that cannot be reached is an error at the start. Later it may come back within the time.
        let asked = timeout_at(end, journal.left_of(known)).await;
        match asked {
            Ok(Ok((0, _))) => return say("left=0"),
            Ok(Ok((left, up_to))) => {
                known = Some(up_to);
                if told != Some(left) {
                    say(&format!("left={left}"))?;
                    told = Some(left);
                }
            }
            Ok(Err(error)) if known.is_none() => return Err(Failure::failed(error)),
            Ok(Err(_)) | Err(_) => {}
        }
        if timeout_at(end, sleep(LOOK)).await.is_err() {
            let left = told.map_or("all".to_owned(), |left: u64| left.to_string());
            let limit = limit.as_secs();
            return Err(Failure::NotInTime(format!("after {limit} s, {left} chunks are left")));
        }
    }
}

pub(crate) async fn list(settings: &Settings, portal: Option<&Of>) -> Result<(), Failure> {
    let journal = journal(settings)?;
    let portal = portal.map(Option::as_ref);
    let mut after = 0;
    loop {
        let letters = journal.dead_letters(portal, after, PAGE).await.map_err(Failure::failed)?;
        let Some(last) = letters.last() else { return Ok(()) };
        after = last.id;
        for letter in letters {
            say(&format!(
                "id={} portal={} lines={} logged={} died={}",
                letter.id,
                name(letter.portal.as_ref()),
                letter.lines,
                time(letter.logged_at),
                time(letter.died_at),
            ))?;
        }
    }
}

pub(crate) async fn requeue(settings: &Settings, which: &Which) -> Result<(), Failure> {
    let (portal, id) = match which {
        Which::All => (None, None),
        Which::Portal(portal) => (Some(portal.as_ref()), None),
        Which::Id(id) => (None, Some(*id)),
    };
    let (chunks, lines) = journal(settings)?.requeue(portal, id).await.map_err(Failure::failed)?;
    if let (Some(id), 0) = (id, chunks) {
        return Err(Failure::Failed(format!("there is no dead letter {id}")));
    }
    say(&format!("requeued chunks={chunks} lines={lines}"))
}

fn journal(settings: &Settings) -> Result<PgJournal, Failure> {
    PgJournal::new(settings.database.clone()).map_err(Failure::failed)
}

/// A portal's name for the output: spaces and control characters in it are replaced.
fn name(portal: Option<&PortalId>) -> String {
    portal.map_or("-".to_owned(), |portal| {
        let plain = |c: char| c.is_ascii_graphic() && c != '=';
        portal.as_str().chars().map(|c| if plain(c) { c } else { '?' }).collect()
    })
}

fn age(age: Duration) -> String {
    format!("{:.1}s", age.as_secs_f64())
}

/// A time in UTC, in the format of RFC 3339.
fn time(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, seconds) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date this number of days after 1970-01-01.
fn date(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// How many portals `status` shows.
const PORTALS: u32 = 10;
/// How often `drain` checks the journal.
const LOOK: Duration = Duration::from_millis(300);
/// How many dead letters one query reads.
const PAGE: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_dates() {
        let at = |seconds| time(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn a_name_is_one_word() {
        assert_eq!(name(Some(&PortalId::from("a b\nc=d"))), "a?b?c?d");
        assert_eq!(
            (name(None), name(Some(&PortalId::from("north")))),
            ("-".into(), "north".into())
        );
    }
}
