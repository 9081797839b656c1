//! The page: files that are part of the binary.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

/// One file.
struct File {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($path:literal $kind:expr),* $(,)?) => {
        &[$(File { path: $path, kind: $kind, bytes: include_bytes!(concat!("page/", $path)) }),*]
    };
}

const FILES: &[File] = files![
    "index.html" HTML,
    "style.css" STYLE,
    "icon.svg" IMAGE,
    "app.js" SCRIPT,
    "store.js" SCRIPT,
    "words.js" SCRIPT,
    "parts.js" SCRIPT,
    "mesh.js" SCRIPT,
    "graph.js" SCRIPT,
    "drawing.js" SCRIPT,
    "layout.js" SCRIPT,
    "fences.js" SCRIPT,
    "fence.js" SCRIPT,
    "timeline.js" SCRIPT,
    "fallback.js" SCRIPT,
    "savings.js" SCRIPT,
    "settings.js" SCRIPT,
    "vendor/preact.js" SCRIPT,
    "vendor/cytoscape.js" SCRIPT,
    "vendor/LICENSES.txt" TEXT,
];

/// The page itself.
pub(super) async fn index() -> Response {
    find("index.html")
}

/// What it loads.
pub(super) async fn file(Path(path): Path<String>) -> Response {
    find(&path)
}

fn find(path: &str) -> Response {
    match FILES.iter().find(|file| file.path == path) {
        Some(file) => ([(header::CONTENT_TYPE, file.kind)], file.bytes).into_response(),
        None => (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, TEXT)], "There is no such file.\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_for_nothing_from_elsewhere_and_every_file_is_named_by_another() {
        let text = |file: &File| String::from_utf8_lossy(file.bytes).into_owned();
        let own = || FILES.iter().filter(|file| !file.path.starts_with("vendor/"));
        for file in own() {
            let text = text(file);
            for address in ["http://", "https://", "src=\"/", "href=\"/", "fetch('/", "import '/"] {
                let found = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!found.contains(address), "{}: {address}", file.path);
            }
        }
        let all: String = own().map(text).collect();
        for file in FILES.iter().filter(|file| file.path != "index.html") {
            assert!(all.contains(file.path), "nobody asks for {}", file.path);
        }
    }
}
