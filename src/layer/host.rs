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

/// Whether the subscriber keeps the spans that a thread has entered as the Registry does: it is the
/// Registry, or the subscriber of `fmt`, which has one inside, or layers on these.
pub(super) fn enters_as_the_registry<S: Subscriber>() -> bool {
    let base = below_layers(type_name::<S>()).unwrap_or_default();
    // A type name omits default arguments.
    let is_fmt =
        base.strip_prefix(FMT).is_some_and(|rest| rest.is_empty() || rest.starts_with('<'));
    is_fmt || is_registry(base)
}

/// A type that this crate cannot name, because it does not need the feature for it.
const FMT: &str = "tracing_subscriber::fmt::Subscriber";

/// Whether this is the name of the Registry, or of layers on it.
fn is_registry(name: &str) -> bool {
    below_layers(name) == Some(type_name::<Registry>())
}

/// The name of the subscriber below all layers.
///
/// The only way to ask a subscriber panics if the answer is no, and a type such as
/// `Layered<A, Layered<B, Registry>>` can be analysed only by its name. An unknown name means a subscriber without
/// filters, which is always safe.
fn below_layers(mut name: &str) -> Option<&str> {
    let layered = type_name::<Layered<Identity, Registry>>();
    let layered = layered.split('<').next().unwrap_or(layered);
    while let Some(arguments) = name.strip_prefix(layered).and_then(|rest| rest.strip_prefix('<')) {
        name = arguments.strip_suffix('>').and_then(second_argument)?;
    }
    Some(name)
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
    fn all_layers_on_the_registry_support_filters() {
        let writer: fn() -> std::io::Stderr = std::io::stderr;
        let stack = registry()
            .with(EnvFilter::new("info"))
            .with(fmt::layer().with_writer(writer).with_filter(LevelFilter::INFO))
            .with(Some(fmt::layer().with_filter(filter_fn(|metadata| metadata.is_span()))))
            .with(vec![fmt::layer().boxed()]);
        assert!(on(&registry()) && on(&registry().with(fmt::layer())) && on(&stack));
    }

    #[test]
    fn the_subscriber_of_fmt_does_not_support_filters() {
        assert!(!on(&fmt::Subscriber::new()));
        assert!(!on(&fmt().with_env_filter("info").compact().finish()));
        assert!(!on(&fmt().finish().with(LevelFilter::INFO)));
    }

    fn on<S: Subscriber>(_: &S) -> bool {
        has_filters::<S>()
    }

    #[test]
    fn the_subscriber_of_fmt_keeps_entered_spans_as_the_registry_does() {
        fn enters<S: Subscriber>(_: &S) -> bool {
            enters_as_the_registry::<S>()
        }
        assert!(enters(&registry()) && enters(&registry().with(fmt::layer())));
        assert!(enters(&fmt::Subscriber::new()));
        assert!(enters(&fmt().with_env_filter("info").compact().finish().with(fmt::layer())));
        assert!(!enters(&tracing_core::subscriber::NoSubscriber::new()));
    }

    #[test]
    fn commas_inside_of_brackets_do_not_count() {
        assert_eq!(second_argument("A<B, C>, D, E"), Some("D"));
        assert_eq!(second_argument("fn(A, B) -> C, [(D, E); 2], F"), Some("[(D, E); 2]"));
        assert_eq!(second_argument("A"), None);
    }
}
