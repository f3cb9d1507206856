//! Style sheets and scripts, compiled into the binary and named by their content.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 6] = [
    Asset {
        name: "bootstrap.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("../static/vendor/bootstrap-5.3.9.min.css"),
    },
    Asset {
        name: "htmx.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../static/vendor/htmx-2.0.11.min.js"),
    },
    Asset {
        name: "tieline.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("../static/tieline.css"),
    },
    Asset {
        name: "tieline.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../static/tieline.js"),
    },
    Asset {
        name: "callback.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../static/callback.js"),
    },
    Asset {
        name: "icon.svg",
        kind: "image/svg+xml",
        bytes: include_bytes!("../static/icon.svg"),
    },
];

/// One number over all files: whichever changes, every page asks for new ones.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    for asset in &ASSETS {
        asset.bytes.hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
});

/// The address of a file, with its version, so that browsers may keep it for good.
pub(crate) fn url(name: &str) -> String {
    format!("/static/{name}?v={}", *VERSION)
}

pub(crate) async fn file(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.kind),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, asset.bytes).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_with_everything_stays_light() {
        let bytes: usize = ASSETS.iter().map(|asset| asset.bytes.len()).sum();
        assert!(bytes < 125_000, "{bytes} bytes, before compression");
    }

    #[test]
    fn nothing_is_asked_of_another_host() {
        for asset in ASSETS
            .iter()
            .filter(|asset| asset.kind.starts_with("text/css"))
        {
            let text = String::from_utf8_lossy(asset.bytes);
            assert!(
                !text.contains("url(http") && !text.contains("@import"),
                "{}",
                asset.name
            );
        }
    }
}
