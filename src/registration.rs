//! The activities and robots that an app adds to business processes, and their values.

use serde_json::{Value, json};

use crate::error::RegistrationError;

mod ordered;
mod parameter;
mod reconcile;

use self::ordered::Ordered;

pub use self::parameter::{Parameter, ValueKind};
pub use self::reconcile::Registered;
pub(crate) use self::reconcile::{Called, Wanted, reconcile};

/// An activity or a robot, as the app declares it. [`Installations`](crate::app::Installations) registers it
/// on every portal: at the installation, and after each update of the app, because an update deletes it.
///
/// The workflow waits for the app by default (`USE_SUBSCRIPTION` is Y), because otherwise there is no
/// log.
///
/// ```
/// use tracing_bizproc::app::{Parameter, Registration, ValueKind};
///
/// let fulfil = Registration::activity("fulfil", "https://app.example/activity", "Fulfil the order")
///     .property("Order", Parameter::new(ValueKind::Text, "Order").required())
///     .return_value("status", Parameter::new(ValueKind::Text, "Status"));
/// # drop(fulfil);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    kind: Kind,
    code: String,
    handler: String,
    name: Value,
    description: Option<String>,
    waits: bool,
    user: Option<u64>,
    document_type: Option<[String; 3]>,
    properties: Vec<(String, Parameter)>,
    return_values: Vec<(String, Parameter)>,
}

/// An activity or a robot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Activity,
    Robot,
}

impl Kind {
    pub(crate) const ALL: [Kind; 2] = [Kind::Activity, Kind::Robot];

    /// The name of the method for this kind and action.
    pub(crate) fn method(self, does: &str) -> String {
        let kind = match self {
            Kind::Activity => "activity",
            Kind::Robot => "robot",
        };
        format!("bizproc.{kind}.{does}")
    }
}

impl Registration {
    /// An activity for the workflow designer: its code, the address that the portal calls (it has to be
    /// on the app's domain), and its name.
    pub fn activity(
        code: impl Into<String>,
        handler: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Registration::of(Kind::Activity, code.into(), handler.into(), name.into())
    }

    /// A robot for the automation of leads, deals and the like.
    pub fn robot(
        code: impl Into<String>,
        handler: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Registration::of(Kind::Robot, code.into(), handler.into(), name.into())
    }

    fn of(kind: Kind, code: String, handler: String, name: String) -> Self {
        Registration {
            kind,
            code,
            handler,
            name: Value::String(name),
            description: None,
            waits: true,
            user: None,
            document_type: None,
            properties: Vec::new(),
            return_values: Vec::new(),
        }
    }

    /// Its name in another language, for example `de`. The name that was given first then counts as
    /// English.
    #[must_use]
    pub fn name_in(mut self, language: impl Into<String>, name: impl Into<String>) -> Self {
        parameter::translate(&mut self.name, language.into(), name.into());
        self
    }

    /// What it does, for the authors of templates.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// The process goes on without waiting for the app. Then there is no log and no return value.
    #[must_use]
    pub fn without_waiting(mut self) -> Self {
        self.waits = false;
        self
    }

    /// The user on whose behalf the tokens of its requests work. Default: the one for whom the portal
    /// runs the process.
    #[must_use]
    pub fn user(mut self, id: u64) -> Self {
        self.user = Some(id);
        self
    }

    /// The document type whose field types its values may have: module, entity and type.
    #[must_use]
    pub fn document_type(mut self, module: &str, entity: &str, document: &str) -> Self {
        self.document_type = Some([module, entity, document].map(str::to_owned));
        self
    }

    /// A value that the author of a template sets. The portal shows these values in the order of the calls.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, parameter: Parameter) -> Self {
        self.properties.push((name.into(), parameter));
        self
    }

    /// A value that the app returns. Values that are not declared are an error when an activity is
    /// completed, because the portal would drop them.
    #[must_use]
    pub fn return_value(mut self, name: impl Into<String>, parameter: Parameter) -> Self {
        self.return_values.push((name.into(), parameter));
        self
    }

    /// Its code.
    pub fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The declaration of a return value. Upper and lower case are the same (server behaviour).
    pub(crate) fn returned(&self, name: &str) -> Option<&Parameter> {
        let mut declared = self.return_values.iter();
        declared.find_map(|(own, value)| own.eq_ignore_ascii_case(name).then_some(value))
    }

    /// Finds what the portal would refuse, before anything is sent.
    pub(crate) fn check(&self) -> Result<(), RegistrationError> {
        let wrong = |problem: &'static str| {
            Err(RegistrationError::Invalid { code: self.code.clone(), problem })
        };
        let in_code = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if self.code.is_empty() || !self.code.bytes().all(in_code) {
            return wrong("needs a code of letters, digits, dots, hyphens and underscores");
        }
        if !["https://", "http://"].iter().any(|scheme| self.handler.starts_with(scheme)) {
            return wrong("needs the address of a handler, with https:// or http://");
        }
        if self.name.as_str().is_some_and(str::is_empty) {
            return wrong("needs a name");
        }
        for values in [&self.properties, &self.return_values] {
            for (n, (name, parameter)) in values.iter().enumerate() {
                let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
                if !starts || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    return wrong(
                        "needs names of properties and return values that start with a letter and have only \
                         letters, digits and _",
                    );
                }
                if values[..n].iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                    return wrong(
                        "has two values with the same name (upper and lower case are the same)",
                    );
                }
                parameter.check().or_else(wrong)?;
            }
        }
        Ok(())
    }

    /// The fields of `bizproc.activity.add`, without the code.
    fn fields(&self) -> Ordered {
        let values = |values: &[(String, Parameter)]| {
            Ordered::Object(
                values.iter().map(|(name, value)| (name.clone(), value.to_json())).collect(),
            )
        };
        let mut fields = Ordered::Object(Vec::new());
        fields.set("HANDLER", self.handler.as_str());
        fields.set("NAME", self.name.clone());
        fields.set("USE_SUBSCRIPTION", if self.waits { "Y" } else { "N" });
        fields.set("PROPERTIES", values(&self.properties));
        fields.set("RETURN_PROPERTIES", values(&self.return_values));
        if let Some(description) = &self.description {
            fields.set("DESCRIPTION", description.as_str());
        }
        if let Some(user) = self.user {
            fields.set("AUTH_USER_ID", user);
        }
        if let Some(document_type) = &self.document_type {
            fields.set("DOCUMENT_TYPE", json!(document_type));
        }
        fields
    }
}

#[cfg(test)]
mod tests;
