//! Pages of directories.
//!
//! A page begins after its cursor, which is the last path of the page before. No listing is remembered between pages,
//! so a directory may change meanwhile: what stays is listed exactly once. Of a long directory the names that come next
//! are kept for later pages, but no more of them than a bound, however many there are ([`super::runs`]).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cap_std::fs::Dir;

use super::catalogue::Look;
use super::names::Names;
use super::runs::{MAX_WEIGHT, Name, Run};
use super::stamp::Stamp;
use super::tree::{Hint, Identity};
use super::{HubError, Shared, describe, mime_of};
use crate::content::rdl;
use crate::wire::limits::{MAX_COMPONENT, MAX_URL};
use crate::wire::{Entry, EntryKind, Listing, SignedBy, UrlPath};

/// JSON around the entries and the cursor.
const ENVELOPE: usize = 32;

/// How long who asks for one file waits for its metadata.
const PATIENCE: Duration = Duration::from_secs(3);

/// As what entries are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// [`Listing::entries`].
    Entries,
    /// [`Listing::rdl`], a string in JSON, which is what is counted. With metadata, as far as it is known.
    RdlInJson,
    /// [`Listing::rdl`] as it is.
    Rdl,
}

/// Who a listing is for.
pub trait Audience {
    /// Whether they may hear of a path. Of what they may not nothing is told, not even in a cursor.
    fn may_know(&self, path: &UrlPath) -> bool;

    /// Whether they may hear of anything below a directory. What is not so is not looked at, however large.
    fn may_know_below(&self, dir: &UrlPath) -> bool;
}

/// Who may hear of everything.
#[derive(Debug, Clone, Copy)]
pub struct Everybody;

impl Audience for Everybody {
    fn may_know(&self, _path: &UrlPath) -> bool {
        true
    }

    fn may_know_below(&self, _dir: &UrlPath) -> bool {
        true
    }
}

/// As what entries are listed, and for whom.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// As what.
    pub form: Form,
    /// For whom.
    pub audience: &'a dyn Audience,
    /// Is told how many entries more were gone through.
    pub told: &'a dyn Fn(u64),
}

impl View<'_> {
    /// All entries.
    pub const ENTRIES: Self = Self { form: Form::Entries, audience: &Everybody, told: &|_| () };
}

impl Form {
    fn is_rdl(self) -> bool {
        self != Self::Entries
    }

    /// Bytes that a piece of the listing takes.
    fn length_of(self, rdl: &str) -> usize {
        match self {
            Self::Rdl => rdl.len(),
            // Without the quotes around it.
            _ => serde_json::to_string(rdl).map_or(usize::MAX, |json| json.len() - 2),
        }
    }
}

/// A directory whose last change is younger than this may change again without its times telling: the coarsest clock of a
/// file system in use, FAT's, ticks every two seconds.
const SETTLED: Duration = Duration::from_secs(3);

pub(super) fn list(
    shared: &Shared,
    dir: &UrlPath,
    depth: u32,
    cursor: Option<&str>,
    max_entries: usize,
    max_bytes: usize,
    view: View<'_>,
) -> Result<Listing, HubError> {
    let View { form, audience, told } = view;
    if let Some(cursor) = cursor {
        // Exactly what a page can have ended with: a canonical relative path.
        let path = UrlPath::parse(&format!("/{cursor}")).map_err(|_| HubError::Cursor)?;
        if path.is_root() || path.as_str()[1..] != *cursor {
            return Err(HubError::Cursor);
        }
    }
    if shared.stat(dir)?.kind != EntryKind::Dir {
        return Err(HubError::NotDirectory);
    }
    let mut page = Page {
        shared,
        look: shared.catalogue.look(),
        max_entries: max_entries.max(1),
        max_bytes,
        form,
        rdl: if form.is_rdl() { rdl::begin(dir) } else { String::new() },
        count: 0,
        entries: Vec::new(),
        bytes: ENVELOPE,
        last: String::new(),
        is_full: false,
        patience: None,
        audience,
        told,
    };
    page.bytes += form.length_of(&page.rdl) + rdl::end().len() + 1;
    page.walk(dir, "", depth.max(1), cursor)?;
    Ok(page.finish())
}

/// One file or directory, as RDL.
pub(super) fn one(shared: &Shared, path: &UrlPath, view: View<'_>) -> Result<Listing, HubError> {
    let View { form, audience, told } = view;
    let parent = path.parent().unwrap_or_else(UrlPath::root);
    let mut page = Page {
        shared,
        look: shared.catalogue.look(),
        max_entries: 1,
        max_bytes: usize::MAX,
        form,
        rdl: rdl::begin(&parent),
        count: 0,
        entries: Vec::new(),
        bytes: ENVELOPE,
        last: String::new(),
        is_full: false,
        patience: Some(PATIENCE),
        audience,
        told,
    };
    let found = shared.stat(path)?;
    if path.is_root() {
        let mtime = Some(found.stamp.mtime.seconds);
        page.add(Entry { kind: EntryKind::Dir, mtime, ..Entry::default() }, String::new())?;
        return Ok(page.finish());
    }
    let open = shared.source.tree.open_dir(&parent)?;
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    page.emit(&parent, &open, "", name)?;
    if page.count == 0 { Err(HubError::NotFound) } else { Ok(page.finish()) }
}

/// A page being filled.
struct Page<'a> {
    shared: &'a Shared,
    look: Option<Look<'a>>,
    max_entries: usize,
    max_bytes: usize,
    form: Form,
    /// In place of `entries`.
    rdl: String,
    count: usize,
    entries: Vec<Entry>,
    bytes: usize,
    /// Relative path of the last entry.
    last: String,
    /// There was one entry too many.
    is_full: bool,
    /// How long metadata is waited for.
    patience: Option<Duration>,
    audience: &'a dyn Audience,
    told: &'a dyn Fn(u64),
}

/// What there is to do with a name. Paths are in byte order when a directory and what is in it are two steps: of the
/// files `a!` and `a/b`, `a!` comes first.
enum Step {
    Emit,
    Descend,
}

impl Page<'_> {
    /// Adds what is in `dir` after the path `after`, which is relative to it.
    fn walk(&mut self, dir: &UrlPath, prefix: &str, depth: u32, after: Option<&str>) -> Result<(), HubError> {
        let descends = depth > 1;
        let mut after = after.map(str::to_owned);
        let open = self.shared.source.tree.open_dir(dir)?;
        loop {
            let (names, is_all) = self.names(dir, &open, descends, after.as_deref())?;
            let end = names.last().filter(|_| !is_all).map(|name| name.encoded.to_string());
            let mut steps: Vec<(String, Step)> = Vec::new();
            for name in names {
                if descends && name.may_be_dir {
                    steps.push((format!("{}/", name.encoded), Step::Descend));
                }
                steps.push((name.encoded.into(), Step::Emit));
            }
            steps.sort_by(|a, b| a.0.cmp(&b.0));
            for (key, step) in steps {
                if end.as_ref().is_some_and(|end| key > *end) {
                    // Names that were left out may come before this.
                    break;
                }
                let inner = after.as_ref().and_then(|after| after.strip_prefix(&key));
                match step {
                    Step::Emit if after.as_ref().is_none_or(|after| key > *after) => {
                        self.emit(dir, &open, prefix, &key)?;
                    }
                    Step::Descend if inner.is_some() || after.as_ref().is_none_or(|after| key > *after) => {
                        let name = key.trim_end_matches('/');
                        if let Some(below) = self.subdirectory(dir, name)? {
                            // What cannot be read, or is gone by now, has no entries.
                            let result = self.walk(&below, &format!("{prefix}{key}"), depth - 1, inner);
                            if let Err(error @ (HubError::Io(_) | HubError::Busy)) = result {
                                return Err(error);
                            }
                        }
                    }
                    _ => {}
                }
                if self.is_full {
                    return Ok(());
                }
            }
            match end {
                Some(end) => after = Some(end),
                None => return Ok(()),
            }
        }
    }

    /// The first names in `dir` that matter after `after`, sorted, and whether that is all of them.
    fn names(
        &self,
        dir: &UrlPath,
        open: &Dir,
        descends: bool,
        after: Option<&str>,
    ) -> Result<(Vec<Name>, bool), HubError> {
        // Up to the name in it, `after` may begin with many names of directories in which there is still something to
        // come; they are shorter than it. Besides these one more than fits the page is enough.
        let most = self.max_entries.saturating_add(1 + 3 * MAX_COMPONENT);
        // Whoever begins anew sees the directory as it is now: its times tell whether names have come or gone.
        let stamp = || open.dir_metadata().ok().map(|meta| Stamp::of_confined(&meta));
        let (known, stamp) = match after {
            Some(after) => (self.shared.runs.find(dir, after), None),
            None => {
                let now = stamp().filter(|stamp| stamp.is_older_than(SETTLED, SystemTime::now()));
                (now.and_then(|now| self.shared.runs.find_first(dir, now)), now)
            }
        };
        if let Some(run) = known {
            return Ok(run.next(descends, after, most));
        }
        let run = self.read(dir, descends, after, most)?;
        let run = Arc::new(run.stamped(stamp));
        self.shared.runs.keep(&run);
        Ok(run.next(descends, after, most))
    }

    /// Reads a directory for its first names that matter after `after`: `least` at least, and as many more as there is room
    /// for.
    fn read(
        &self,
        dir: &UrlPath,
        descends: bool,
        after: Option<&str>,
        least: usize,
    ) -> Result<Run, HubError> {
        let mut first = Names::default();
        // Once there are more: none of those that are kept comes after this.
        let mut end: Option<String> = None;
        let dir_len = if dir.is_root() { 0 } else { dir.as_str().len() };
        self.shared.source.tree.read_dir(dir, |name, hint| {
            (self.told)(1);
            let Ok(path) = UrlPath::root().join(name) else { return };
            let encoded = &path.as_str()[1..];
            // A path too long for a URL cannot be asked for, so it is not listed.
            if dir_len + path.as_str().len() > MAX_URL || end.as_deref().is_some_and(|end| end < encoded) {
                return;
            }
            let may_be_dir = hint != Hint::File;
            let matters = after.is_none_or(|after| {
                encoded > after
                    || (descends && may_be_dir && {
                        let key = format!("{encoded}/");
                        key.as_str() > after || after.starts_with(&key)
                    })
            });
            if !matters {
                return;
            }
            first.push(encoded, may_be_dir);
            // Now and then, so that it costs little for each name.
            if first.weight() > MAX_WEIGHT && first.len() > least.saturating_mul(2) {
                first.keep_first((first.len() / 2).max(least));
                end = first.greatest().map(str::to_owned);
            }
        })?;
        first.sort();
        Ok(Run::new(dir, after, first, end.is_none()))
    }

    /// The directory called `name`, unless it is none, or leads back up.
    fn subdirectory(&self, dir: &UrlPath, name: &str) -> Result<Option<UrlPath>, HubError> {
        let path = path_of(dir, name).filter(|path| self.audience.may_know_below(path));
        let Some(path) = path else { return Ok(None) };
        let found = match self.shared.stat(&path) {
            Ok(found) => found,
            // It is not to look empty to who asks for all of it.
            Err(HubError::Busy) => return Err(HubError::Busy),
            Err(_) => return Ok(None),
        };
        let is_one = found.kind == EntryKind::Dir && !self.leads_up(dir, &path, found.identity());
        Ok(is_one.then_some(path))
    }

    fn emit(&mut self, dir: &UrlPath, open: &Dir, prefix: &str, name: &str) -> Result<(), HubError> {
        let path = path_of(dir, name).filter(|path| self.audience.may_know(path));
        let Some(path) = path else { return Ok(()) };
        (self.told)(1);
        let found = match self.shared.source.tree.stat_in(open, path.file_name(), &path) {
            Ok(found) => found,
            // Gone, special, or a symlink to nowhere or out of the tree.
            Err(HubError::NotFound | HubError::Denied) => return Ok(()),
            Err(other) => return Err(other),
        };
        let is_dir = found.kind == EntryKind::Dir;
        if is_dir && self.leads_up(dir, &path, found.identity()) {
            return Ok(());
        }
        let relative = format!("{prefix}{name}");
        let raw: Vec<u8> = percent_encoding::percent_decode_str(&relative).collect();
        let text = String::from_utf8_lossy(&raw);
        let signatures = &self.shared.signatures;
        let is_signed = !is_dir && signatures.is_beside(&self.shared.source.tree, open, &path);
        let piece = match is_signed {
            true => self.shared.piece_size_for(&path, found.stamp.size, &self.shared.beside(&path)),
            // Without a look at the disk.
            false => self.shared.usual_piece_size(found.stamp.size),
        };
        let look = self.look.as_ref().filter(|_| !is_dir);
        let root = look.and_then(|look| look.root(&path, &found.stamp, piece));
        let signed_by = match root {
            _ if is_signed => Some(SignedBy::Publisher),
            Some(_) if signatures.signs() => Some(SignedBy::Server),
            _ => None,
        };
        let about = (self.form.is_rdl() && !is_dir).then(|| match self.patience {
            Some(time) => describe::about_soon(self.shared, open, &path, &found.stamp, time),
            None => describe::about(self.shared, self.look.as_ref(), open, &path, &found.stamp),
        });
        let entry = Entry {
            path: std::str::from_utf8(&raw).is_err().then(|| relative.clone()),
            name: text.into_owned(),
            kind: found.kind,
            size: if is_dir { 0 } else { found.stamp.size },
            mtime: Some(found.stamp.mtime.seconds),
            root,
            chunk_size: root.map(|_| piece.bytes()),
            mime: if is_dir { None } else { mime_of(&path).map(str::to_owned) },
            signed: signed_by.is_some(),
            signed_by,
            about: about.map(Box::new),
        };
        self.add(entry, relative)
    }

    fn add(&mut self, mut entry: Entry, relative: String) -> Result<(), HubError> {
        let mut line = if self.form.is_rdl() { rdl::entry(&relative, &entry) } else { String::new() };
        // With its comma. The cursor of a page that ends here is this path once more, which has nothing to escape but
        // what percent-encoding lets through: nothing. It comes with quotes.
        let mut size = match self.form {
            Form::Entries => serde_json::to_vec(&entry).map_err(|e| HubError::Io(e.to_string()))?.len() + 1,
            form => form.length_of(&line),
        };
        let is_too_long = |size: usize| self.bytes.saturating_add(size + relative.len() + 2) > self.max_bytes;
        if self.count == 0 && is_too_long(size) && entry.about.take().is_some() {
            // Rather without its metadata than not at all.
            line = rdl::entry(&relative, &entry);
            size = self.form.length_of(&line);
        }
        if self.count >= self.max_entries || (self.count > 0 && is_too_long(size)) {
            self.is_full = true;
            return Ok(());
        }
        self.bytes += size;
        self.count += 1;
        if self.form.is_rdl() {
            self.rdl.push_str(&line);
        } else {
            self.entries.push(entry);
        }
        self.last = relative;
        Ok(())
    }

    fn finish(mut self) -> Listing {
        let next = self.is_full.then_some(self.last);
        let rdl = self.form.is_rdl().then(|| {
            self.rdl.push_str(rdl::end());
            self.rdl
        });
        Listing { entries: self.entries, rdl, next, ..Listing::default() }
    }

    /// Whether the directory at `path` is really one that `dir` is in: then `path` is a symlink up, and below it
    /// everything would come again, without end.
    fn leads_up(&self, dir: &UrlPath, path: &UrlPath, identity: Identity) -> bool {
        let tree = &self.shared.source.tree;
        if tree.stat_unfollowed(path).is_ok() {
            // No symlink.
            return false;
        }
        let mut above = Some(dir.clone());
        while let Some(path) = above {
            if tree.stat(&path).is_ok_and(|found| found.identity() == identity) {
                return true;
            }
            above = path.parent();
        }
        false
    }
}

fn path_of(dir: &UrlPath, encoded: &str) -> Option<UrlPath> {
    let name: Vec<u8> = percent_encoding::percent_decode_str(encoded).collect();
    dir.join(&name).ok()
}
