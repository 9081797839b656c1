//! Owns the view of the console from a real browser, Debian's Chromium: the page that a controller serves, on a real API server and on a folder of two
//! thousand Services.
//! Never asks the controller behind the page's back for what the page should show.
//! Next: `story` for what a user does, `large` for a large mesh, `browser` for how it is steered, `page` for what is asked of a page.

mod browser;
mod large;
mod page;
mod story;

use std::time::Duration;

/// Longest that anything may take; only a failure waits for so long.
const DEADLINE: Duration = Duration::from_secs(90);
