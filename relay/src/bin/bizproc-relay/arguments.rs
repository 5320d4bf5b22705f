//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tracing_bizproc::PortalId;

use crate::Failure;
use crate::settings::duration;

/// The arguments of the program.
#[derive(Debug, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) command: Command,
    /// A file with settings.
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Help,
    Version,
    Run,
    Status,
    Drain { limit: Duration },
    Migrate,
    Check,
    DeadList { portal: Option<Of> },
    DeadRequeue { which: Which },
}

/// A portal, by name.
pub(crate) type Of = Option<PortalId>;

/// Which dead letters are put back.
#[derive(Debug, PartialEq)]
pub(crate) enum Which {
    All,
    Portal(Of),
    Id(u64),
}

pub(crate) const HELP: &str = "\
bizproc-relay: delivers what replicas of an app publish to PostgreSQL

usage: bizproc-relay [--config FILE] COMMAND

  run                          deliver until SIGTERM or SIGINT
  status                       what is in the journal, and who delivers it
  check                        whether the settings can be used and the tables are there
  migrate                      make the tables, or bring them to this version
  drain [--timeout TIME]       wait until everything that is in the journal now has been delivered (60s)
  dead list [--portal NAME]    lines that were given up in the last seven days
  dead requeue --all           put them back, to be delivered after all
               --portal NAME     those of one portal
               --default-portal  those of the portal without a name
               --id NUMBER       one of them

  --config FILE   settings in TOML; environment variables override them
                  (also BIZPROC_RELAY_CONFIG)
  --help, --version

exit codes: 0 done, 1 failed, 2 wrong arguments or settings, 3 drain: something is left

The settings are described in docs/relay.md.";

impl Arguments {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let mut words = Vec::new();
        for argument in arguments {
            words.push(argument.into_string().map_err(|_| wrong("an argument is not UTF-8"))?);
        }
        let mut rest = Rest(words);
        if rest.flag("--help") || rest.flag("-h") {
            return Ok(Arguments { command: Command::Help, config: None });
        }
        if rest.flag("--version") || rest.flag("-V") {
            return Ok(Arguments { command: Command::Version, config: None });
        }
        let config = rest.value("--config")?.map(PathBuf::from);
        let command = rest.command()?;
        match rest.0.first() {
            Some(word) => Err(wrong(&format!("`{word}` is not expected here"))),
            None => Ok(Arguments { command, config }),
        }
    }
}

/// The arguments that are not read yet.
struct Rest(Vec<String>);

impl Rest {
    fn command(&mut self) -> Result<Command, Failure> {
        match self.word().as_deref() {
            Some("run") => Ok(Command::Run),
            Some("status") => Ok(Command::Status),
            Some("check") => Ok(Command::Check),
            Some("migrate") => Ok(Command::Migrate),
            Some("drain") => {
                let limit = match self.value("--timeout")? {
                    None => Duration::from_secs(60),
                    Some(text) => duration(&text)
                        .map_err(|expected| wrong(&format!("--timeout is {text:?}: {expected}")))?,
                };
                Ok(Command::Drain { limit })
            }
            Some("dead") => self.dead(),
            Some(word) => Err(wrong(&format!("there is no command `{word}`"))),
            None => Err(wrong("a command is missing")),
        }
    }

    fn dead(&mut self) -> Result<Command, Failure> {
        let word = self.word();
        let portal = match (self.value("--portal")?, self.flag("--default-portal")) {
            (Some(_), true) => {
                return Err(wrong("--portal and --default-portal exclude each other"));
            }
            (Some(name), false) => Some(Some(PortalId::from(name))),
            (None, true) => Some(None),
            (None, false) => None,
        };
        match word.as_deref() {
            Some("list") => Ok(Command::DeadList { portal }),
            Some("requeue") => {
                let id = self.value("--id")?;
                let which = match (self.flag("--all"), portal, id) {
                    (true, None, None) => Which::All,
                    (false, Some(portal), None) => Which::Portal(portal),
                    (false, None, Some(id)) => {
                        let number = id.parse().map_err(|_| {
                            wrong(&format!("--id is {id:?}: expected a number of `dead list`"))
                        })?;
                        Which::Id(number)
                    }
                    _ => {
                        return Err(wrong(
                            "dead requeue needs one of --all, --portal, --default-portal and --id",
                        ));
                    }
                };
                Ok(Command::DeadRequeue { which })
            }
            _ => Err(wrong("dead needs `list` or `requeue`")),
        }
    }

    /// The next word that is no option.
    fn word(&mut self) -> Option<String> {
        let first = self.0.first().filter(|word| !word.starts_with('-'))?.clone();
        self.0.remove(0);
        Some(first)
    }

    /// Whether this option is there.
    fn flag(&mut self, name: &str) -> bool {
        let at = self.0.iter().position(|word| word == name);
        at.map(|at| self.0.remove(at)).is_some()
    }

    /// The value of this option: `--name value` or `--name=value`.
    fn value(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let with_value = |word: &str| {
            word.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).map(str::to_owned)
        };
        if let Some(at) = self.0.iter().position(|word| with_value(word).is_some()) {
            return Ok(with_value(&self.0.remove(at)));
        }
        let Some(at) = self.0.iter().position(|word| word == name) else { return Ok(None) };
        self.0.remove(at);
        if at == self.0.len() {
            return Err(wrong(&format!("{name} needs a value")));
        }
        Ok(Some(self.0.remove(at)))
    }
}

fn wrong(what: &str) -> Failure {
    Failure::Usage(format!("{what}; `bizproc-relay --help` shows how it is used"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(OsString::from)).map_err(|failure| {
            let Failure::Usage(why) = failure else { panic!("{failure:?}") };
            why
        })
    }

    fn command(line: &str) -> Command {
        parse(line).unwrap().command
    }

    #[test]
    fn commands_and_options_are_read_in_any_order() {
        let file = Some(PathBuf::from("a.toml"));
        assert_eq!(
            parse("--config a.toml run").unwrap(),
            Arguments { command: Command::Run, config: file.clone() }
        );
        assert_eq!(
            parse("drain --timeout=90s --config=a.toml").unwrap(),
            Arguments { command: Command::Drain { limit: Duration::from_secs(90) }, config: file }
        );
        assert_eq!(command("status"), Command::Status);
        assert_eq!(command("drain"), Command::Drain { limit: Duration::from_secs(60) });
        assert_eq!(command("dead list"), Command::DeadList { portal: None });
        let north = Some(PortalId::from("north"));
        assert_eq!(
            command("dead list --portal north"),
            Command::DeadList { portal: Some(north.clone()) }
        );
        let requeue = |which| Command::DeadRequeue { which };
        assert_eq!(command("dead requeue --all"), requeue(Which::All));
        assert_eq!(command("dead requeue --portal north"), requeue(Which::Portal(north)));
        assert_eq!(command("dead requeue --default-portal"), requeue(Which::Portal(None)));
        assert_eq!(command("dead requeue --id 7"), requeue(Which::Id(7)));
        assert_eq!((command("run --help"), command("-V")), (Command::Help, Command::Version));
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, hint) in [
            ("", "a command is missing"),
            ("start", "no command `start`"),
            ("run now", "`now` is not expected"),
            ("run --fast", "`--fast` is not expected"),
            ("run --config", "--config needs a value"),
            ("drain --timeout soon", "--timeout is \"soon\""),
            ("dead", "`list` or `requeue`"),
            ("dead requeue", "needs one of --all"),
            ("dead requeue --all --id 7", "needs one of --all"),
            ("dead requeue --id x", "--id is \"x\""),
            ("dead list --portal a --default-portal", "exclude each other"),
        ] {
            let why = parse(line).unwrap_err();
            assert!(why.contains(hint), "{line}: {why}");
        }
    }
}
