//! The forms: handler requests, events, and the page of an application.

use crate::core::Core;
use crate::oauth::Issued;
use crate::settings::{Authorization, Language};
use crate::state::{DOCUMENT_TYPE, Opening, Process, PropertyValue};
use crate::wire::Form;

/// What a handler request says of the activity (server behaviour).
pub(super) struct Told<'a> {
    pub(super) workflow: &'a str,
    pub(super) code: &'a str,
    pub(super) event_token: &'a str,
    pub(super) opening: &'a Opening,
    pub(super) properties: &'a [(String, PropertyValue)],
}

/// Where the portal is, as it says it itself.
pub(super) struct Place {
    domain: String,
    client_endpoint: String,
    server_endpoint: String,
    member_id: String,
    isolated: bool,
    tls: bool,
    pub(super) language: Language,
}

impl Place {
    pub(super) fn of(core: &Core) -> Self {
        let addresses = core.addresses();
        let settings = core.world().settings.clone();
        let root = addresses.public_url(true);
        Self {
            domain: addresses.host(addresses.domain.as_deref(), true),
            client_endpoint: format!("{root}rest/"),
            server_endpoint: core.server_endpoint(true),
            member_id: core.identity.member_id.clone(),
            isolated: settings.authorization == Authorization::Isolated,
            tls: addresses.https.is_some(),
            language: settings.language,
        }
    }

    /// `auth[..]`, without tokens where nobody may use any.
    fn auth(&self, form: &mut Form, tokens: Option<&Issued>, application_token: &str) {
        if let Some(tokens) = tokens {
            form.field("auth[access_token]", &tokens.access_token)
                .field("auth[expires]", &tokens.expires.as_secs().to_string())
                .field("auth[expires_in]", &tokens.expires_in.to_string())
                .field("auth[scope]", &tokens.scopes.join(","));
        }
        form.field("auth[domain]", &self.domain);
        if !self.isolated {
            form.field("auth[server_endpoint]", &self.server_endpoint);
        }
        form.field("auth[status]", "L")
            .field("auth[client_endpoint]", &self.client_endpoint)
            .field("auth[member_id]", &self.member_id);
        if let Some(tokens) = tokens {
            form.field("auth[user_id]", &tokens.user.to_string());
            if !self.isolated {
                form.field("auth[refresh_token]", &tokens.refresh_token);
            }
        }
        form.field("auth[application_token]", application_token);
    }

    /// The handler request.
    pub(super) fn activity(
        &self,
        told: &Told<'_>,
        process: &Process,
        now: u64,
        tokens: &Issued,
        application_token: &str,
    ) -> Form {
        let mut form = Form::default();
        form.field("workflow_id", told.workflow).field("code", told.code);
        for (index, part) in process.origin.document.iter().enumerate() {
            form.field(&format!("document_id[{index}]"), part);
        }
        for (index, part) in DOCUMENT_TYPE.into_iter().enumerate() {
            form.field(&format!("document_type[{index}]"), part);
        }
        form.field("event_token", told.event_token);
        for (name, value) in told.properties {
            for (name, value) in value.fields(&format!("properties[{name}]"), self.language) {
                form.field(&name, &value);
            }
        }
        let timeout = told.opening.timeout.unwrap_or_default().as_secs();
        form.field("use_subscription", if told.opening.subscription { "Y" } else { "N" })
            .field("timeout_duration", &timeout.to_string())
            .field("ts", &now.to_string());
        self.auth(&mut form, Some(tokens), application_token);
        form
    }

    /// An event of the application's life.
    pub(super) fn event(
        &self,
        name: &str,
        data: &[(&str, String)],
        now: u64,
        tokens: Option<&Issued>,
        application_token: &str,
    ) -> Form {
        let mut form = Form::default();
        form.field("event", name);
        for (name, value) in data {
            form.field(&format!("data[{name}]"), value);
        }
        form.field("ts", &now.to_string());
        self.auth(&mut form, tokens, application_token);
        form
    }

    /// The query and the form with which a browser's frame opens an application (simple way of
    /// authorization).
    pub(super) fn page(&self, session: &str, tokens: &Issued, token: &str) -> (Form, Form) {
        let mut query = Form::default();
        query
            .field("DOMAIN", &self.domain)
            .field("PROTOCOL", if self.tls { "1" } else { "0" })
            .field("LANG", self.language.id())
            .field("APP_SID", session);
        let mut form = Form::default();
        form.field("AUTH_ID", &tokens.access_token)
            .field("AUTH_EXPIRES", &tokens.expires_in.to_string());
        if !self.isolated {
            form.field("REFRESH_ID", &tokens.refresh_token)
                .field("SERVER_ENDPOINT", &self.server_endpoint);
        }
        form.field("APPLICATION_TOKEN", token)
            .field("APPLICATION_SCOPE", &tokens.scopes.join(","))
            .field("member_id", &self.member_id)
            .field("status", "L")
            .field("PLACEMENT", "DEFAULT")
            .field("PLACEMENT_OPTIONS", r#"{"any":"6\/"}"#);
        (query, form)
    }
}
