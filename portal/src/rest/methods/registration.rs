//! `bizproc.activity.*` and `bizproc.robot.*`: what an application adds to the portal's processes.

use super::{administrator, application_of, text};
use crate::error::{ErrorCode, Refusal};
use crate::php::{Array, Value};
use crate::rest::hit::Hit;
use crate::state::{Declared, Kind, PropertyType, Registration};

pub(super) fn add(
    hit: &Hit<'_>,
    kind: Kind,
    params: &Array<'_>,
) -> Result<Value<'static>, Refusal> {
    let client_id = application_of(hit)?;
    administrator(hit)?;
    let code = code(params)?;
    let handler = text(params, "HANDLER").unwrap_or_default();
    handler_url(hit, &client_id, &handler)?;
    let mut registration = Registration {
        client_id,
        kind,
        code,
        name: String::new(),
        handler,
        auth_user: None,
        subscription: None,
        properties: Vec::new(),
        return_properties: Vec::new(),
    };
    if params.get_ignoring_case("NAME").is_none_or(Value::is_empty) {
        return Err(invalid("Empty activity NAME!"));
    }
    change(&mut registration, params)?;
    if !hit.core.world().registry.add(registration) {
        return Err(ErrorCode::ActivityAlreadyInstalled.into());
    }
    Ok(Value::Bool(true))
}

pub(super) fn update(
    hit: &Hit<'_>,
    kind: Kind,
    params: &Array<'_>,
) -> Result<Value<'static>, Refusal> {
    let client_id = application_of(hit)?;
    administrator(hit)?;
    let code = code(params)?;
    let fields = params.get_ignoring_case("FIELDS").and_then(Value::as_array);
    let mut updated = {
        let mut world = hit.core.world();
        let known = world.registry.get_mut(&client_id, kind, &code);
        known.ok_or(ErrorCode::ActivityNotFound)?.clone()
    };
    let fields = fields.filter(|fields| FIELDS.iter().any(|name| has(fields, name)));
    let fields = fields.ok_or_else(|| invalid("No fields to update"))?;
    if let Some(handler) = text(fields, "HANDLER") {
        handler_url(hit, &client_id, &handler)?;
        updated.handler = handler;
    }
    change(&mut updated, fields)?;
    if let Some(known) = hit.core.world().registry.get_mut(&client_id, kind, &code) {
        *known = updated;
    }
    Ok(Value::Bool(true))
}

pub(super) fn delete(
    hit: &Hit<'_>,
    kind: Kind,
    params: &Array<'_>,
) -> Result<Value<'static>, Refusal> {
    let client_id = application_of(hit)?;
    administrator(hit)?;
    let code = code(params)?;
    if hit.core.world().registry.remove(&client_id, kind, &code) {
        return Ok(Value::Bool(true));
    }
    Err(ErrorCode::ActivityNotFound.into())
}

/// The codes of the application's own.
pub(super) fn list(hit: &Hit<'_>, kind: Kind) -> Result<Value<'static>, Refusal> {
    let client_id = application_of(hit)?;
    administrator(hit)?;
    let world = hit.core.world();
    let mut codes = Array::new();
    let own = world.registry.all().iter();
    for known in own.filter(|known| known.client_id == client_id && known.kind == kind) {
        codes.push(Value::text(known.code.as_str()));
    }
    Ok(Value::Array(codes))
}

/// What can be changed later.
const FIELDS: &[&str] = &[
    "HANDLER",
    "AUTH_USER_ID",
    "USE_SUBSCRIPTION",
    "NAME",
    "DESCRIPTION",
    "PROPERTIES",
    "RETURN_PROPERTIES",
    "DOCUMENT_TYPE",
    "FILTER",
    "USE_PLACEMENT",
    "PLACEMENT_HANDLER",
];

fn has(fields: &Array<'_>, name: &str) -> bool {
    fields.get_ignoring_case(name).is_some()
}

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::ActivityValidation, text)
}

fn code(params: &Array<'_>) -> Result<String, Refusal> {
    let code = text(params, "CODE").unwrap_or_default();
    if code.is_empty() {
        return Err(invalid("Empty activity code!"));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !code.bytes().all(allowed) {
        return Err(invalid("Wrong activity code!"));
    }
    Ok(code)
}

/// A handler is called by http or https, and on the domain of the application, where that has one.
pub(super) fn handler_url(hit: &Hit<'_>, client_id: &str, url: &str) -> Result<(), Refusal> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(ErrorCode::WrongHandlerUrl.into());
    };
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(ErrorCode::UnsupportedProtocol.into());
    }
    let name = host_name(rest);
    let oauth = hit.core.cloud.oauth();
    let there = oauth.installation(client_id, &hit.core.identity.member_id);
    let own = there.and_then(|there| there.url.as_deref()?.split_once("://"));
    let foreign = own.is_some_and(|(_, own)| !host_name(own).eq_ignore_ascii_case(name));
    if name.is_empty() || foreign {
        return Err(ErrorCode::WrongHandlerUrl.into());
    }
    Ok(())
}

fn host_name(rest: &str) -> &str {
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// Takes over whatever is given besides the handler.
fn change(registration: &mut Registration, fields: &Array<'_>) -> Result<(), Refusal> {
    if let Some(user) = text(fields, "AUTH_USER_ID") {
        registration.auth_user = user.parse().ok().filter(|user| *user > 0);
    }
    if let Some(waits) = text(fields, "USE_SUBSCRIPTION") {
        registration.subscription = match &*waits {
            "Y" => Some(true),
            "N" => Some(false),
            _ => None,
        };
    }
    if let Some(name) = fields.get_ignoring_case("NAME") {
        registration.name = localized(name).ok_or_else(|| invalid("Empty activity NAME!"))?;
    }
    if let Some(properties) = fields.get_ignoring_case("PROPERTIES") {
        registration.properties = declared(properties)?;
    }
    if let Some(properties) = fields.get_ignoring_case("RETURN_PROPERTIES") {
        registration.return_properties = declared(properties)?;
    }
    let document_type = fields.get_ignoring_case("DOCUMENT_TYPE").filter(|given| !given.is_empty());
    if document_type.is_some_and(|given| given.as_array().is_none_or(|parts| parts.len() != 3)) {
        return Err(invalid("Wrong activity DOCUMENT_TYPE!"));
    }
    let filter = fields.get_ignoring_case("FILTER").filter(|given| !given.is_empty());
    if filter.is_some_and(|filter| filter.as_array().is_none()) {
        return Err(invalid("Wrong activity FILTER!"));
    }
    if text(fields, "USE_PLACEMENT").as_deref() == Some("Y")
        && text(fields, "PLACEMENT_HANDLER").is_none_or(|url| url.is_empty())
    {
        return Err(ErrorCode::WrongHandlerUrl.into());
    }
    Ok(())
}

/// A text, or the first of its translations.
fn localized(value: &Value<'_>) -> Option<String> {
    let first = match value {
        Value::Array(texts) => texts.iter().next()?.1,
        text => text,
    };
    let text = String::from_utf8_lossy(&first.to_bytes()?).into_owned();
    (!text.is_empty()).then_some(text)
}

fn declared(value: &Value<'_>) -> Result<Vec<Declared>, Refusal> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let properties = value.as_array().ok_or_else(|| invalid("Wrong properties array!"))?;
    let one = |(key, property): (_, &Value<'_>)| {
        let key: &crate::php::Key<'_> = key;
        let name = String::from_utf8_lossy(&key.to_bytes()).into_owned();
        let letter = name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
        if !letter || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(invalid(format!("Wrong property key ({name})!")));
        }
        let property = property.as_array().ok_or_else(|| invalid("Wrong properties array!"))?;
        let shown = property.get_ignoring_case("Name").and_then(localized);
        if shown.is_none() {
            return Err(invalid(format!("Empty property NAME ({name})!")));
        }
        let kind = PropertyType::named(&text(property, "Type").unwrap_or_default());
        let default = property.get_ignoring_case("Default").map(|default| kind.read(default));
        Ok(Declared { name, kind, default })
    };
    properties.iter().map(one).collect()
}
