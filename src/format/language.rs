//! The built-in languages.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use tracing_core::Level;

use super::wording::Wording;
use crate::error::InvalidOption;
use crate::stats::DropReason;

/// A built-in language.
///
/// As text, in a configuration: `en` or `ru`.
///
/// ```
/// use tracing_bizproc::format::{Language, Wording};
///
/// assert_eq!(Language::Russian.rolled_off(2), "портал больше не показывает 2 более ранние строки");
/// assert_eq!("ru".parse(), Ok(Language::Russian));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Language {
    /// The default.
    #[default]
    English,
    /// Russian.
    Russian,
}

impl Wording for Language {
    fn level(&self, level: Level) -> Cow<'_, str> {
        let word = match (self, level) {
            (Language::English, Level::ERROR) => "ERROR",
            (Language::English, Level::WARN) => "WARNING",
            (Language::Russian, Level::ERROR) => "ОШИБКА",
            (Language::Russian, Level::WARN) => "ВНИМАНИЕ",
            _ => "",
        };
        word.into()
    }

    fn missing(&self, lines: u64, since: &str, reasons: &str) -> Cow<'_, str> {
        let text = match self {
            Language::English => {
                let noun = if lines == 1 { "line" } else { "lines" };
                format!("{lines} {noun} missing since {since}: {reasons}")
            }
            Language::Russian => {
                let noun = russian(lines, "строка", "строки", "строк");
                // "5 строк пропущено", but "1 строка пропущена" and "2 строки пропущены".
                let verb = russian(lines, "пропущена", "пропущены", "пропущено");
                format!("{lines} {noun} {verb} с {since}: {reasons}")
            }
        };
        text.into()
    }

    fn may_be_missing(&self, lines: u64, since: &str, reasons: &str) -> Cow<'_, str> {
        let text = match self {
            Language::English => {
                let noun = if lines == 1 { "line" } else { "lines" };
                format!("{lines} {noun} may be missing since {since}: {reasons}")
            }
            Language::Russian => {
                let noun = russian(lines, "строка", "строки", "строк");
                let verb = russian(lines, "пропущена", "пропущены", "пропущено");
                format!("{lines} {noun}, возможно, {verb} с {since}: {reasons}")
            }
        };
        text.into()
    }

    fn may_be_there(&self, lines: u64) -> Cow<'_, str> {
        let text = match self {
            Language::English => format!("{lines} of them may be in the log"),
            Language::Russian => format!("{lines} из них, возможно, есть в журнале"),
        };
        text.into()
    }

    fn may_be_told(&self, lines: u64) -> Cow<'_, str> {
        let text = match self {
            Language::English => format!("{lines} of them may have been reported before"),
            Language::Russian => {
                let told = russian(lines, "упомянута", "упомянуты", "упомянуто");
                format!("{lines} из них, возможно, уже {told} раньше")
            }
        };
        text.into()
    }

    fn reason(&self, reason: DropReason) -> Cow<'_, str> {
        match self {
            Language::English => reason.as_str().into(),
            Language::Russian => russian_reason(reason).into(),
        }
    }

    fn possible_repeat(&self) -> Cow<'_, str> {
        match self {
            Language::English => "possible repeat: the answer to the first try was lost".into(),
            Language::Russian => "возможен повтор: ответ на первую попытку потерян".into(),
        }
    }

    fn rolled_off(&self, lines: u64) -> Cow<'_, str> {
        let text = match self {
            Language::English if lines == 1 => {
                "1 older line is no longer shown by the portal".to_owned()
            }
            Language::English => {
                format!("{lines} older lines are no longer shown by the portal")
            }
            Language::Russian => {
                let older = russian(lines, "раннюю строку", "ранние строки", "ранних строк");
                format!("портал больше не показывает {lines} более {older}")
            }
        };
        text.into()
    }

    fn more_bytes(&self, bytes: u64) -> Cow<'_, str> {
        let text = match self {
            Language::English if bytes == 1 => "1 byte more".to_owned(),
            Language::English => format!("{bytes} bytes more"),
            Language::Russian => {
                format!("ещё {bytes} {}", russian(bytes, "байт", "байта", "байт"))
            }
        };
        text.into()
    }

    fn fields_left_out(&self) -> Cow<'_, str> {
        match self {
            Language::English => "fields_left_out".into(),
            Language::Russian => "полей_не_поместилось".into(),
        }
    }

    fn unwritable(&self) -> Cow<'_, str> {
        match self {
            Language::English => "could not be written".into(),
            Language::Russian => "не удалось записать".into(),
        }
    }
}

/// The form of a Russian noun that goes with a number: 1 строка, 2 строки, 5 строк, 11 строк.
fn russian<'a>(number: u64, one: &'a str, few: &'a str, many: &'a str) -> &'a str {
    match (number % 10, number % 100) {
        (_, 11..=14) => many,
        (1, _) => one,
        (2..=4, _) => few,
        _ => many,
    }
}

fn russian_reason(reason: DropReason) -> &'static str {
    match reason {
        DropReason::QueueFull => "очередь переполнена",
        DropReason::BudgetSpent => "исчерпана память для журнала",
        DropReason::Closed => "журнал закрыт приложением",
        DropReason::TokenShare => "слишком много строк сразу",
        DropReason::Evicted => "место отдано более новым строкам",
        DropReason::PortalShare => "исчерпана доля памяти этого портала",
        DropReason::TokenDenied => "портал не принял ключ действия",
        DropReason::WorkflowGone => "бизнес-процесс завершён",
        DropReason::EntryRefused => "портал отклонил запись",
        DropReason::CredentialBlocked => "портал не принимает доступ приложения",
        DropReason::PortalBlocked => "портал недоступен",
        DropReason::UnknownPortal => "портал неизвестен",
        DropReason::Uninstalled => "приложение удалено с портала",
        DropReason::RetriesSpent => "доставить не удалось",
        DropReason::OutcomeUnknown => "неизвестно, записаны ли они",
        DropReason::ShutdownDeadline => "приложение завершило работу",
        DropReason::SpoolFull => "место на диске для строк исчерпано",
        DropReason::Expired => "строки устарели",
        DropReason::SpoolDamaged => "данные на диске повреждены",
        DropReason::Forked => "строки дочернего процесса",
        DropReason::Internal => "внутренняя ошибка",
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Language::English => "en",
            Language::Russian => "ru",
        })
    }
}

impl FromStr for Language {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        match text.to_ascii_lowercase().as_str() {
            "en" => Ok(Language::English),
            "ru" => Ok(Language::Russian),
            _ => Err(InvalidOption::new(text, "en or ru")),
        }
    }
}
