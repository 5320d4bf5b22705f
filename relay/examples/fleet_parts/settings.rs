//! The settings that a process reads from its standard input before it starts, one per line:
//!
//! ```text
//! database CONNECTION
//! portal MEMBER_ID URL           how to call a portal
//! activity NUMBER MEMBER_ID EVENT_TOKEN
//! rate LINES                     that a replica logs in a second
//! max_hold SECONDS               that a line waits for the schedule of entries at most
//! unfenced                       a relay sends even if the database forbids it
//! start
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::io::BufRead;
use std::time::Duration;

use tracing_bizproc::auth::Webhook;
use tracing_bizproc::{EventToken, PortalId};

/// All settings.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) database: String,
    pub(crate) webhooks: HashMap<PortalId, Webhook>,
    pub(crate) activities: Vec<OpenActivity>,
    pub(crate) rate: f64,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) is_unfenced: bool,
}

/// An activity that replicas log to.
#[derive(Clone)]
pub(crate) struct OpenActivity {
    pub(crate) number: u32,
    pub(crate) portal: PortalId,
    pub(crate) event_token: EventToken,
}

impl Settings {
    /// Reads up to `start`.
    pub(crate) fn read(input: impl BufRead) -> Result<Settings, Box<dyn Error>> {
        let mut settings = Settings::default();
        for line in input.lines() {
            let line = line?;
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["database", ..] => {
                    settings.database = line["database ".len()..].to_owned();
                }
                ["portal", member_id, url] => {
                    settings.webhooks.insert(PortalId::from(member_id), Webhook::new(url)?);
                }
                ["activity", number, member_id, event_token] => {
                    let activity = OpenActivity::read(number, member_id, event_token);
                    settings.activities.extend(activity);
                }
                ["rate", lines] => settings.rate = lines.parse()?,
                ["max_hold", seconds] => {
                    settings.max_hold = Some(Duration::try_from_secs_f64(seconds.parse()?)?);
                }
                ["unfenced"] => settings.is_unfenced = true,
                ["start"] => return Ok(settings),
                // The line may hold a secret.
                _ => return Err("a setting makes no sense".into()),
            }
        }
        Err("the settings end before `start`".into())
    }
}

impl OpenActivity {
    pub(crate) fn read(number: &str, member_id: &str, event_token: &str) -> Option<OpenActivity> {
        Some(OpenActivity {
            number: number.parse().ok()?,
            portal: PortalId::from(member_id),
            event_token: EventToken::parse(event_token).ok()?,
        })
    }
}

/// Settings as they are written.
#[derive(Default)]
pub(crate) struct Told(String);

impl Told {
    pub(crate) fn line(mut self, words: impl AsRef<str>) -> Told {
        self.0.push_str(words.as_ref());
        self.0.push('\n');
        self
    }

    pub(crate) fn start(self) -> String {
        self.line("start").0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_are_written() {
        let told = Told::default()
            .line("database host=/tmp/x port=5 user=postgres")
            .line("portal abc http://127.0.0.1:5/rest/1/code/")
            .line("activity 7 abc wf|name|1.00ff")
            .line("rate 2.5")
            .line("max_hold 10")
            .line("unfenced")
            .start();
        let read = Settings::read(told.as_bytes()).unwrap();
        assert_eq!(read.database, "host=/tmp/x port=5 user=postgres");
        assert_eq!((read.webhooks.len(), read.rate, read.is_unfenced), (1, 2.5, true));
        assert_eq!(read.max_hold, Some(Duration::from_secs(10)));
        assert_eq!((read.activities.len(), read.activities[0].number), (1, 7));
        assert!(Settings::read("rate 2\n".as_bytes()).is_err());
        assert!(Settings::read("what s3cret\nstart\n".as_bytes()).is_err());
    }
}
