//! Versions in distribution, for the piece service to find without asking the dispatcher.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::hub::FileVersion;
use crate::wire::{Digest, UrlPath};

/// Versions by what names them. The dispatcher puts them here and takes them away; how many there are is its
/// responsibility.
#[derive(Debug, Default)]
pub(crate) struct Shelf(RwLock<HashMap<UrlPath, Vec<Arc<FileVersion>>>>);

impl Shelf {
    /// The version of `path` with this root.
    pub(crate) fn get(&self, path: &UrlPath, root: &Digest) -> Option<Arc<FileVersion>> {
        // Nothing panics while it holds the lock, and a map is whole between any two of its calls.
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(path)?.iter().find(|version| version.root() == *root).cloned()
    }

    /// Adds a version.
    pub(crate) fn put(&self, version: Arc<FileVersion>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let versions = all.entry(version.path.clone()).or_default();
        if !versions.iter().any(|known| known.root() == version.root()) {
            versions.push(version);
        }
    }

    /// Takes a version away.
    pub(crate) fn remove(&self, path: &UrlPath, root: &Digest) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(versions) = all.get_mut(path) {
            versions.retain(|version| version.root() != *root);
            if versions.is_empty() {
                all.remove(path);
            }
        }
    }
}
