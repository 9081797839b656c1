//! Owns what users install from, as far as it can be seen without a cluster: the Helm chart, the scripts, the image.
//! Never installs anything; `mesh::ways` does, on a real mesh.
//! Next: `chart` for Helm, `scripts` for `install/samples/lazyload`, `image` for `image/build.sh`, `alerts` for what the chart
//! alerts of, `metrics` for what it may ask, `documentation` for pages and links, `vendored` for the
//! console's libraries.

mod alerts;
mod chart;
mod documentation;
mod image;
mod metrics;
pub(crate) mod program;
mod rights;
mod scripts;
mod vendored;
