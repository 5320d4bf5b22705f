//! What the subscriber supports, below the layer and around it.

use std::any::type_name;
use std::mem::size_of_val;
use std::ptr;

use tracing_core::{Dispatch, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Identity, Layer, Layered};

/// Whether the subscriber lets a layer have a filter of its own. The Registry does, and layers on it
/// pass that on. `fmt::Subscriber` does not, and a type of the app's may not: asked for a filter, they
/// panic.
pub(super) fn has_filters<S: Subscriber>() -> bool {
    is_registry(type_name::<S>())
}

/// Whether a layer stands directly on its subscriber, so that it is told of each span that is entered.
/// Around it there may be a filter, or a type of the app's, which hides some of them.
///
/// The type says it: `registry.with(layer)` is a `Layered<L, S>`, and `registry.with(layer.boxed())` or
/// `registry.with(layer.with_filter(..))` is not.
pub(super) fn has_directly<L: Layer<S>, S: Subscriber>(dispatch: &Dispatch, layer: &L) -> bool {
    dispatch.downcast_ref::<Layered<L, S>>().is_some_and(|layered| {
        let start = ptr::from_ref(layered).addr();
        (start..start + size_of_val(layered)).contains(&ptr::from_ref(layer).addr())
    })
}

/// Whether this is the name of the Registry, or of layers on it.
///
/// The only way to ask a subscriber panics if the answer is no, and a type such as
/// `Layered<A, Layered<B, Registry>>` can be analysed only by its name. An unknown name means a subscriber without
/// filters, which is always safe.
fn is_registry(mut name: &str) -> bool {
    let layered = type_name::<Layered<Identity, Registry>>();
    let layered = layered.split('<').next().unwrap_or(layered);
    while name != type_name::<Registry>() {
        let inner = name
            .strip_prefix(layered)
            .and_then(|rest| rest.strip_prefix('<'))
            .and_then(|rest| rest.strip_suffix('>'))
            .and_then(second_argument);
        match inner {
            Some(inner) => name = inner,
            None => return false,
        }
    }
    true
}

/// `B` of `A, B, C`. Commas inside of brackets do not count.
fn second_argument(arguments: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut before = ' ';
    let commas = arguments.char_indices().filter(|&(_, char)| {
        match char {
            '<' | '(' | '[' | '{' => depth += 1,
            // The arrow of a function's type is no bracket.
            '>' if before == '-' => {}
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = char;
        char == ',' && depth == 0
    });
    let mut commas = commas.map(|(place, _)| place);
    let from = commas.next()? + 1;
    let to = commas.next().unwrap_or(arguments.len());
    Some(arguments[from..to].trim())
}

#[cfg(test)]
mod tests {
    use tracing_core::LevelFilter;
    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::prelude::*;
    use tracing_subscriber::{EnvFilter, fmt, registry};

    use super::*;

    #[test]
    fn layers_on_the_registry_have_filters_whatever_their_types() {
        let writer: fn() -> std::io::Stderr = std::io::stderr;
        let stack = registry()
            .with(EnvFilter::new("info"))
            .with(fmt::layer().with_writer(writer).with_filter(LevelFilter::INFO))
            .with(Some(fmt::layer().with_filter(filter_fn(|metadata| metadata.is_span()))))
            .with(vec![fmt::layer().boxed()]);
        assert!(on(&registry()) && on(&registry().with(fmt::layer())) && on(&stack));
    }

    #[test]
    fn the_subscriber_of_fmt_has_none() {
        assert!(!on(&fmt::Subscriber::new()));
        assert!(!on(&fmt().with_env_filter("info").compact().finish()));
        assert!(!on(&fmt().finish().with(LevelFilter::INFO)));
    }

    fn on<S: Subscriber>(_: &S) -> bool {
        has_filters::<S>()
    }

    #[test]
    fn commas_inside_of_brackets_do_not_count() {
        assert_eq!(second_argument("A<B, C>, D, E"), Some("D"));
        assert_eq!(second_argument("fn(A, B) -> C, [(D, E); 2], F"), Some("[(D, E); 2]"));
        assert_eq!(second_argument("A"), None);
    }
}
