//! What reads foreign bytes, under a fuzzer: one program, the target is named by the variable `FUZZ_TARGET` (see run.sh).
//! Each target states what must hold for every input; that nothing panics, loops or grows holds for all.

#![no_main]

mod objects;
mod observation;
mod settings;

// The scan is a part of the binary, which is no library.
#[allow(dead_code, reason = "the binary uses what this does not")]
#[path = "../../crates/lazyload/src/observe/fields.rs"]
mod fields;
#[allow(dead_code, reason = "the binary uses what this does not")]
#[path = "../../crates/lazyload/src/observe/scan.rs"]
mod scan;
#[path = "../../crates/lazyload/src/observe/sender.rs"]
mod sender;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

type Target = fn(&[u8]);

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET, as fuzz/run.sh sets it");
    match name.as_str() {
        "access_log" => observation::access_log,
        "log_line" => observation::log_line,
        "authority" => observation::authority,
        "cluster" => observation::cluster,
        "identity" => observation::identity,
        "evidence" => observation::evidence,
        "alias" => settings::alias,
        "settings" => settings::settings,
        "objects" => objects::objects,
        other => panic!("no target {other:?}"),
    }
});

fuzz_target!(|data: &[u8]| (*TARGET)(data));

/// The input as text, where it is one.
fn text(data: &[u8]) -> &str {
    std::str::from_utf8(data).unwrap_or_default()
}
