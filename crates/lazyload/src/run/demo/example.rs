//! The built-in example: Bookinfo as YAML, written into a folder of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The files, as they are in the source tree under `crates/lazyload/demo`.
const FILES: [(&str, &str); 7] = [
    ("details.yaml", include_str!("../../../demo/details.yaml")),
    ("global-sidecar.yaml", include_str!("../../../demo/global-sidecar.yaml")),
    ("namespaces.yaml", include_str!("../../../demo/namespaces.yaml")),
    ("productpage.yaml", include_str!("../../../demo/productpage.yaml")),
    ("ratings.yaml", include_str!("../../../demo/ratings.yaml")),
    ("reviews.yaml", include_str!("../../../demo/reviews.yaml")),
    ("slimeboot.yaml", include_str!("../../../demo/slimeboot.yaml")),
];

/// The network of the files, and those that are taken instead where another demo runs.
const NETWORKS: std::ops::RangeInclusive<u8> = 42..=73;

/// The example in its folder.
#[derive(Debug)]
pub struct Example {
    directory: PathBuf,
    /// Holds the network against other demos that start now.
    _claim: TcpListener,
}

impl Example {
    /// Writes it into a new folder among the temporary files.
    ///
    /// # Errors
    /// The folder cannot be written, or all networks are taken.
    pub fn write() -> anyhow::Result<Self> {
        let mut claims = NETWORKS.filter_map(|network| {
            let claim = TcpListener::bind((Ipv4Addr::new(127, network, 255, 1), 9080)).ok()?;
            Some((network, claim))
        });
        let (network, claim) =
            claims.next().context("no network from 127.42 to 127.73 is free: are many demos running?")?;
        let directory = std::env::temp_dir().join(format!("lazyload-demo-{}", std::process::id()));
        let written = std::fs::create_dir_all(&directory).and_then(|()| {
            FILES.iter().try_for_each(|(name, text)| {
                std::fs::write(directory.join(name), text.replace("127.42.", &format!("127.{network}.")))
            })
        });
        written.with_context(|| format!("failed to write the example to {}", directory.display()))?;
        Ok(Self { directory, _claim: claim })
    }

    /// The folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Removes the folder and everything in it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn remove(&self) -> anyhow::Result<()> {
        std::fs::remove_dir_all(&self.directory)
            .with_context(|| format!("failed to remove {}", self.directory.display()))
    }
}
