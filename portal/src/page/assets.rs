//! The files of the page. They are part of the program.

/// A file of the page.
pub(crate) struct Asset {
    path: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) text: &'static str,
}

/// The asset at a path.
pub(crate) fn at(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

macro_rules! asset {
    (css $name:literal) => {
        asset!(concat!("/assets/css/", $name), "text/css", concat!("css/", $name))
    };
    (js $name:literal) => {
        asset!(concat!("/assets/js/", $name), "text/javascript", concat!("js/", $name))
    };
    ($path:expr, $content_type:literal, $file:expr) => {
        Asset {
            path: $path,
            content_type: concat!($content_type, "; charset=utf-8"),
            text: include_str!(concat!("../../assets/", $file)),
        }
    };
}

/// Every file of the page.
const ASSETS: &[Asset] = &[
    asset!("/", "text/html", "index.html"),
    asset!("/assets/icon.svg", "image/svg+xml", "icon.svg"),
    asset!(css "base.css"),
    asset!(css "layout.css"),
    asset!(css "parts.css"),
    asset!(css "log.css"),
    asset!(js "theme.js"),
    asset!(js "main.js"),
    asset!(js "api.js"),
    asset!(js "apps.js"),
    asset!(js "connect.js"),
    asset!(js "dom.js"),
    asset!(js "entry.js"),
    asset!(js "format.js"),
    asset!(js "log.js"),
    asset!(js "meters.js"),
    asset!(js "settings.js"),
    asset!(js "workflows.js"),
];
