//! Which files are the user's, and where the produced ones go.

use std::io::Write;
use std::path::{Path, PathBuf};

use lazyload_logic::types::{Kind, ObjectRef};

/// The folder for everything that lazyload produces.
pub const GENERATED: &str = "generated";
/// How the name of a file ends that holds nothing but the status of a user's fence.
pub const STATUS_SUFFIX: &str = ".status.yaml";
/// Deepest folder below the given one that is looked into; stops at links that lead in a circle.
const MAX_DEPTH: usize = 16;

/// Paths of one folder.
#[derive(Clone, Debug)]
pub struct Layout {
    directory: PathBuf,
}

/// The files of a folder, each list in order.
#[derive(Debug, Default)]
pub struct Files {
    /// Written by the user.
    pub user: Vec<PathBuf>,
    /// Written by us.
    pub generated: Vec<PathBuf>,
    /// Folders that cannot be read, and why.
    pub unreadable: Vec<(PathBuf, std::io::Error)>,
}

impl Layout {
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Every YAML and JSON file; hidden files and folders are left out.
    pub fn files(&self) -> Files {
        let mut files = Files::default();
        let generated = self.directory.join(GENERATED);
        let mut folders = vec![(self.directory.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    files.unreadable.push((folder, error));
                    continue;
                }
            };
            for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
                if path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.')) {
                    continue;
                }
                if path.is_dir() {
                    if depth < MAX_DEPTH {
                        folders.push((path, depth + 1));
                    }
                } else if is_manifest(&path) {
                    let list = if path.starts_with(&generated) { &mut files.generated } else { &mut files.user };
                    list.push(path);
                }
            }
        }
        files.user.sort();
        files.generated.sort();
        files
    }

    /// The file of an object that we produce.
    pub fn object_file(&self, kind: Kind, id: &ObjectRef) -> PathBuf {
        self.generated_file(id, &format!("{}-{}.yaml", kind.name().to_lowercase(), id.name))
    }

    /// The file of what we know about a user's fence.
    pub fn status_file(&self, id: &ObjectRef) -> PathBuf {
        self.generated_file(id, &format!("servicefence-{}{STATUS_SUFFIX}", id.name))
    }

    fn generated_file(&self, id: &ObjectRef, name: &str) -> PathBuf {
        self.directory.join(GENERATED).join(&*id.namespace).join(name)
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

/// Writes a file such that readers see the old one or the new one, never a part.
pub fn write_file(path: &Path, text: &str) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Hidden, so that nobody takes it for a manifest.
    let temporary = path.with_file_name(format!(".{name}.new"));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    std::fs::rename(&temporary, path)
}

/// Removes a file; one that is gone already is fine.
pub fn remove_file(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
