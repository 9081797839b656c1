//! THE WORDS: custom resources, settings as users write them, names shared with the mesh.
//! Never decides or touches anything; types and their (de)serialisation only.
//! Next: `lazyload-logic`, which thinks in these words.

mod condition;
pub mod gateway_api;
pub mod istio;
pub mod names;
pub mod security;
pub mod service_fence;
pub mod slime_boot;
