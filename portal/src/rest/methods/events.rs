//! `event.bind`, `event.unbind`, `event.get`: who is told of what.

use super::registration::handler_url;
use super::{application_of, text};
use crate::error::{ErrorCode, Refusal};
use crate::php::{Array, Value};
use crate::rest::hit::Hit;
use crate::state::Binding;

pub(super) fn bind(hit: &Hit<'_>, params: &Array<'_>) -> Result<Value<'static>, Refusal> {
    let binding = binding(hit, params)?;
    handler_url(hit, &binding.client_id, &binding.handler)?;
    if hit.core.world().registry.bind(binding) {
        return Ok(Value::Bool(true));
    }
    let text = "Unable to set event handler: Handler already binded";
    Err(Refusal::new(ErrorCode::Core, text))
}

pub(super) fn unbind(hit: &Hit<'_>, params: &Array<'_>) -> Result<Value<'static>, Refusal> {
    let named = binding(hit, params)?;
    let any_user = params.get_ignoring_case("auth_type").is_none();
    let count = hit.core.world().registry.unbind(|known| {
        (any_user || known.auth_type == named.auth_type)
            && (&known.client_id, &known.event, &known.handler)
                == (&named.client_id, &named.event, &named.handler)
    });
    Ok(Value::Array([("count", Value::Int(count as i64))].into()))
}

fn binding(hit: &Hit<'_>, params: &Array<'_>) -> Result<Binding, Refusal> {
    let client_id = application_of(hit)?;
    let missing = |name: &str| {
        Refusal::new(ErrorCode::Argument, format!("Argument '{name}' is null or empty"))
    };
    let event = text(params, "event").filter(|event| !event.is_empty());
    let event = event.ok_or_else(|| missing("EVENT"))?.to_uppercase();
    let known = event.starts_with("ON") && event.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !known {
        return Err(ErrorCode::EventNotFound.into());
    }
    let handler = text(params, "handler").filter(|handler| !handler.is_empty());
    let handler = handler.ok_or_else(|| missing("HANDLER"))?;
    if text(params, "event_type").is_some_and(|kind| kind == "offline") {
        let text = "This stand-in portal has no offline events";
        return Err(Refusal::new(ErrorCode::NotInStandIn, text));
    }
    let auth_type = text(params, "auth_type").and_then(|user| user.parse().ok()).unwrap_or(0);
    if !hit.caller.is_admin() && auth_type != 0 && auth_type != hit.caller.user {
        let text =
            "Access denied! Event binding with AUTH_TYPE requires administrator access rights";
        return Err(Refusal::new(ErrorCode::AccessDenied, text));
    }
    // Who is no administrator binds for himself.
    let auth_type = if hit.caller.is_admin() { auth_type } else { hit.caller.user };
    Ok(Binding { client_id, event, handler, auth_type })
}

pub(super) fn get(hit: &Hit<'_>) -> Result<Value<'static>, Refusal> {
    let client_id = application_of(hit)?;
    let world = hit.core.world();
    let own = world.registry.bindings().iter().filter(|binding| {
        binding.client_id == client_id
            && (hit.caller.is_admin() || binding.auth_type == hit.caller.user)
    });
    let mut list = Array::new();
    for binding in own {
        let fields = [
            ("event", Value::text(binding.event.as_str())),
            ("handler", Value::text(binding.handler.as_str())),
            ("auth_type", Value::text(binding.auth_type.to_string())),
            ("offline", Value::Int(0)),
        ];
        list.push(Value::Array(fields.into()));
    }
    Ok(Value::Array(list))
}
