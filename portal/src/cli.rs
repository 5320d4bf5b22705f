//! The arguments of the command line.

use std::ffi::OsString;

use bizproc_portal::{Portal, PortalBuilder, Setting};
use clap::builder::{PossibleValuesParser, StyledStr};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// What the program is to do.
pub(crate) struct Wishes {
    pub(crate) builder: PortalBuilder,
    pub(crate) handler: Option<String>,
    pub(crate) install_url: Option<String>,
    pub(crate) install_page: Option<String>,
    pub(crate) faults: Option<f64>,
    pub(crate) app: bool,
    pub(crate) json: bool,
}

/// Reads the arguments, the program's name first. The error may also be the help or the version.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Wishes, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    wishes(&matches).map_err(|complaint| command.error(ErrorKind::ValueValidation, complaint))
}

fn command() -> Command {
    let url = || value_parser!(String);
    let mut command = Command::new("bizproc-portal")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A stand-in Bitrix24 portal, for testing apps that take part in business processes")
        .args([
            option("port", "N", "http at this port [default: any that is free]")
                .value_parser(value_parser!(u16)),
            option("tls-port", "N", "https at this port [default: any that is free]")
                .value_parser(value_parser!(u16)),
            flag(
                "no-tls",
                "Speak http only, so that no client needs to know the portal's authority",
            )
            .conflicts_with("tls-port"),
            option(
                "host-name",
                "NAME",
                "A name of this machine; the first one is the portal's own, in every answer",
            )
            .action(ArgAction::Append),
            option("seed", "N", "What identifiers, secrets and faults follow from")
                .value_parser(value_parser!(u64)),
            flag("cloud", "A whole cloud: the limits of a standard plan, and 50 entries a log"),
            flag("app", "Print the secrets of an application that is installed"),
            option("install-url", "URL", "Where the application is told of its installation")
                .value_parser(url()),
            option("install-page", "URL", "The page on which the application is installed")
                .value_parser(url())
                .conflicts_with("install-url"),
            option("handler", "URL", "Who is told of the activity of the first workflow")
                .value_parser(url()),
            option(
                "handler-ca",
                "FILE",
                "Call handlers by https if this authority vouches for them",
            ),
            flag("trust-any-handler", "Call handlers by https whatever their certificate says")
                .conflicts_with("handler-ca"),
            option("faults", "SHARE", "Let something go wrong with this share of all calls")
                .value_parser(share),
            flag("json", "Print one line of JSON, for tests in other languages"),
        ])
        .next_help_heading("How the portal behaves");
    for setting in Setting::all() {
        let name = setting.name().replace('_', "-");
        let mut argument = option(&name, setting.shape(), &setting.about()).id(setting.name());
        if !setting.choices().is_empty() {
            argument = argument.value_parser(PossibleValuesParser::new(setting.choices()));
        }
        command = command.arg(argument);
    }
    command
}

fn option(name: &str, value: &str, about: &str) -> Arg {
    let about: StyledStr = about.to_owned().into();
    Arg::new(name.to_owned()).long(name.to_owned()).value_name(value.to_owned()).help(about)
}

fn flag(name: &'static str, about: &'static str) -> Arg {
    Arg::new(name).long(name).help(about).action(ArgAction::SetTrue)
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "not from 0 to 1".to_owned())
}

fn wishes(matches: &ArgMatches) -> Result<Wishes, String> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let mut builder = Portal::builder();
    if !matches.get_flag("no-tls") {
        builder = builder.tls();
    }
    builder = match matches.get_flag("cloud") {
        true => builder.cloud(),
        false => builder.setting("own_entries", "activities")?,
    };
    for setting in Setting::all() {
        if let Some(words) = text(setting.name()) {
            builder = builder.setting(setting.name(), &words)?;
        }
    }
    if let Some(port) = matches.get_one("port") {
        builder = builder.port(*port);
    }
    if let Some(port) = matches.get_one("tls-port") {
        builder = builder.tls_port(*port);
    }
    if let Some(seed) = matches.get_one("seed") {
        builder = builder.seed(*seed);
    }
    let mut names = matches.get_many::<String>("host-name").into_iter().flatten();
    if let Some(own) = names.next() {
        builder = builder.domain(own);
    }
    for name in names {
        builder = builder.host_name(name);
    }
    if let Some(file) = text("handler-ca") {
        let pem = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
        builder = builder.handler_ca(pem);
    }
    if matches.get_flag("trust-any-handler") {
        builder = builder.trust_any_handler();
    }
    Ok(Wishes {
        builder,
        handler: text("handler"),
        install_url: text("install-url"),
        install_page: text("install-page"),
        faults: matches.get_one("faults").copied(),
        app: matches.get_flag("app"),
        json: matches.get_flag("json"),
    })
}
