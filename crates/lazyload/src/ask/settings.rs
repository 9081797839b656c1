//! The settings of a folder: of its SlimeBoot, or chosen such that something is to be seen.

use anyhow::Result;
use lazyload_logic::settings::{Context, Settings, resolve};
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::process::exit::BadInput;

/// Settings, and what their reader should know about them.
pub struct Chosen {
    /// The settings.
    pub settings: Settings,
    /// One line for each thing.
    pub remarks: Vec<String>,
}

/// Takes the lazyload module of the folder's SlimeBoot.
///
/// # Errors
/// Its settings cannot be used.
pub fn choose(folder: &Folder) -> Result<Chosen> {
    let boot = folder.slime_boot();
    let module = boot.as_ref().and_then(module);
    let text = |pointer: &str| boot.as_ref().and_then(|boot| boot.pointer(pointer)).and_then(Value::as_str);
    let context = Context {
        component_type: text("/spec/component/globalSidecar/type").map(str::to_owned),
        namespace: text("/metadata/namespace").map(str::to_owned),
    };
    let mut remarks = Vec::new();
    let entry = module.cloned().unwrap_or_else(|| {
        remarks.push(
            "no SlimeBoot in the folder: every Service with a selector is fenced (autoFence and defaultFence)"
                .to_owned(),
        );
        json!({"general": {"autoFence": true, "defaultFence": true}})
    });
    let resolved = resolve(&entry, &context).map_err(|error| BadInput(format!("the folder's SlimeBoot: {error}")))?;
    remarks.extend(resolved.warnings);
    Ok(Chosen { settings: resolved.settings, remarks })
}

fn module(boot: &Value) -> Option<&Value> {
    let modules = boot.pointer("/spec/module")?.as_array()?;
    let is = |module: &&Value, key: &str| module.get(key).is_some_and(|value| value == "lazyload");
    modules.iter().find(|module| is(module, "kind")).or_else(|| modules.iter().find(|module| is(module, "name")))
}
