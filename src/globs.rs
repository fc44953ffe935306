//! Patterns that choose files by name: what an operator leaves out of the served tree, and a user out of a mirror.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

/// Most patterns of one kind.
const MAX_PATTERNS: usize = 1024;

/// Which files of a tree are chosen: those that match an `include` pattern, or all where there is none, but nothing
/// that matches an `exclude` pattern, nor what is below it.
///
/// `*` stands for any characters but `/`, `**` for any at all, `?` for one, `[ab]` and `{x,y}` for one of several. A
/// pattern without `/` is compared with the last name, one with `/` with the whole path, and one that ends in `/` is for
/// directories only.
#[derive(Debug, Clone, Default)]
pub struct Globs {
    include: Set,
    exclude: Set,
}

#[derive(Debug, Clone)]
struct Set {
    all: GlobSet,
    dirs: GlobSet,
    is_empty: bool,
}

impl Globs {
    /// # Errors
    /// A sentence that names the pattern that is none.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, String> {
        Ok(Self { include: Set::new(include)?, exclude: Set::new(exclude)? })
    }

    /// Whether everything is chosen.
    pub fn choose_all(&self) -> bool {
        self.include.is_empty && self.exclude.is_empty
    }

    /// Whether `path` is chosen, if the directory it is in is: raw names joined by `/`, relative to the tree.
    pub fn choose(&self, path: &[u8], is_dir: bool) -> bool {
        !self.exclude.matches(path, is_dir)
            && (is_dir || self.include.is_empty || self.include.matches(path, false))
    }
}

impl Default for Set {
    fn default() -> Self {
        Self { all: GlobSet::empty(), dirs: GlobSet::empty(), is_empty: true }
    }
}

impl Set {
    fn new(patterns: &[String]) -> Result<Self, String> {
        if patterns.len() > MAX_PATTERNS {
            return Err(format!("more than {MAX_PATTERNS} patterns"));
        }
        let (mut all, mut dirs) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let (name, is_dir) = match pattern.strip_suffix('/') {
                Some(name) => (name, true),
                None => (pattern.as_str(), false),
            };
            let text = match name.strip_prefix('/') {
                Some(anchored) => anchored.to_owned(),
                None if name.contains('/') => name.to_owned(),
                None => format!("**/{name}"),
            };
            let glob = GlobBuilder::new(&text)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|error| format!("{pattern:?} is no pattern: {}", error.kind()))?;
            if is_dir {
                dirs.add(glob)
            } else {
                all.add(glob)
            };
        }
        let build = |builder: GlobSetBuilder| builder.build().map_err(|error| error.to_string());
        Ok(Self { all: build(all)?, dirs: build(dirs)?, is_empty: patterns.is_empty() })
    }

    fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        let candidate = Candidate::from_bytes(path);
        self.all.is_match_candidate(&candidate) || (is_dir && self.dirs.is_match_candidate(&candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(include: &[&str], exclude: &[&str]) -> Globs {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        Globs::new(&owned(include), &owned(exclude)).unwrap()
    }

    #[test]
    fn names_and_paths() {
        let globs = globs(&[], &["*.tmp", "/top", "a/*/c", "cache/", "**/deep/x"]);
        for (path, is_dir, chosen) in [
            ("x.tmp", false, false),
            ("d/x.tmp", false, false),
            ("x.tmp.txt", false, true),
            ("top", false, false),
            ("d/top", false, true),
            ("a/b/c", false, false),
            ("a/b/b/c", false, true),
            ("cache", true, false),
            ("d/cache", true, false),
            ("d/cache", false, true),
            ("one/two/deep/x", false, false),
            (".tmp", false, false),
        ] {
            assert_eq!(globs.choose(path.as_bytes(), is_dir), chosen, "{path}");
        }
        assert!(!globs.choose(b"\xff.tmp", false) && globs.choose(b"\xff", false));
    }

    #[test]
    fn what_is_included_is_all_there_is() {
        let globs = globs(&["*.iso", "docs/**"], &["old*"]);
        for (path, is_dir, chosen) in [
            ("a.iso", false, true),
            ("d/a.iso", false, true),
            ("old.iso", false, false),
            ("a.txt", false, false),
            ("docs/a/b", false, true),
            ("any", true, true),
        ] {
            assert_eq!(globs.choose(path.as_bytes(), is_dir), chosen, "{path}");
        }
        assert!(Globs::default().choose(b"x", false));
        assert!(Globs::new(&[], &[]).unwrap().choose_all() && !globs.choose_all());
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        let error = Globs::new(&["[a".to_owned()], &[]).unwrap_err();
        assert!(error.contains("\"[a\""), "{error}");
        assert!(Globs::new(&vec!["a".to_owned(); MAX_PATTERNS + 1], &[]).is_err());
    }
}
